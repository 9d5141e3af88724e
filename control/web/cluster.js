/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cluster as the server tells it: lists first, then each change from the revision of the first list on.
 * When the stream ends it is taken up again where it was; when the server no longer knows that place
 * (410: it was started anew, or it was long ago), the lists are read again.
 *
 *   reading -> live -> waiting -> live ...        paused: nobody looks at this page
 */
import { isSettled } from "./judge.js";
import { learnClock, now } from "./words.js";

const PAGE = 1000;
const HEARTBEAT_S = 10;
const SILENCE_MS = 2.5 * HEARTBEAT_S * 1000;
const HEALTH_MS = 20000;
const NOT_READY = 503;
/* A browser has six connections for a server: tabs that nobody looks at give theirs back. */
const HIDDEN_MS = 60000;
const WAIT_MIN_MS = 500, WAIT_MAX_MS = 8000;

class Refused extends Error {
	constructor(status, description) {
		super(description);
		this.status = status;
	}
}

/* The sentence that the server says when it refuses. */
async function reasonOf(answer) {
	try {
		return (await answer.json()).description ?? `the server answers ${answer.status}`;
	} catch {
		return `the server answers ${answer.status}`;
	}
}

async function ask(path, options) {
	const answer = await fetch(path, {
		cache: "no-store",
		credentials: "same-origin",
		redirect: "error",
		...options,
	});

	learnClock(answer.headers.get("Date"));
	if (!answer.ok && !options?.anyStatus)
		throw new Refused(answer.status, await reasonOf(answer));
	return answer;
}

export async function getJson(path, options) {
	return (await ask(path, options)).json();
}

/* Counts up in one run of the server; of another run there is nothing to compare. */
function isOlder(a, b) {
	const [runA, a_n] = splitRevision(a), [runB, b_n] = splitRevision(b);

	return runA === runB && a_n < b_n;
}

function splitRevision(revision) {
	const at = String(revision).lastIndexOf("-");

	return [String(revision).slice(0, at), Number(String(revision).slice(at + 1))];
}

/* A node's silence as a moment, since it goes on with no event. */
function withSilence(n) {
	const known = n.silent_s != null;

	return { ...n, silent_since: known ? new Date(now() - 1000 * n.silent_s).toISOString() : null };
}

/* text/event-stream: @on_event({ id, type, data }) for each block. */
function eventParser(on_event) {
	let rest = "", block = {};

	function line(text) {
		if (text === "") {
			/* Only a whole block counts: one that was cut off comes again. */
			if (block.id !== undefined || block.data !== undefined)
				on_event(block);
			block = {};
			return;
		}
		const colon = text.indexOf(":");
		const field = colon < 0 ? text : text.slice(0, colon);
		const value = colon < 0 ? "" : text.slice(colon + 1).replace(/^ /, "");
		if (field === "id")
			block.id = value;
		else if (field === "event")
			block.type = value;
		else if (field === "data")
			block.data = block.data === undefined ? value : `${block.data}\n${value}`;
	}

	return (text) => {
		const lines = (rest + text).split("\n");
		rest = lines.pop();
		lines.forEach((l) => line(l.replace(/\r$/, "")));
	};
}

export class Cluster {
	datasets = new Map();
	nodes = new Map();
	leaving = new Map(); /* dataset id: { from, arrived }: the node that it leaves or has just left */
	health = null;
	state = "reading"; /* reading, live, waiting, paused */
	read = 0;          /* datasets, while they are listed */
	since = Date.now(); /* of the state; of being out of touch when it is waiting */
	error = null;
	retry_at = null;
	#revision = null;
	#wait_ms = WAIT_MIN_MS;
	#again = false; /* they were listed anew since the stream was open last */
	#abort = null;
	#wake = null;
	#hiding = null;

	/* @on_change(): something differs; @on_event(type, object, before): one of the stream, or "list". */
	constructor(on_change, on_event) {
		this.on_change = on_change;
		this.on_event = on_event;
	}

	start() {
		document.addEventListener("visibilitychange", () => this.#onVisibility());
		addEventListener("online", () => this.#wake?.());
		this.#run();
		this.#watchHealth();
	}

	get seen() {
		return this.#revision !== null || this.datasets.size > 0 || this.nodes.size > 0;
	}

	#enter(state) {
		if (this.state !== state && !(state === "reading" && this.state === "waiting"))
			this.since = Date.now();
		this.state = state;
		this.on_change();
	}

	async #run() {
		for (;;) {
			try {
				if (document.hidden && this.state === "paused")
					await this.#sleep(null);
				if (!this.#revision)
					await this.#list();
				await this.#follow();
				this.error = "the server ended the connection";
			} catch (e) {
				this.error = e.message;
				if (e.status === 410) {
					this.#revision = null;
					/* Lists that are too old at once are not read again without a rest. */
					if (!this.#again) {
						this.#again = true;
						continue;
					}
				}
			}
			if (this.state !== "paused")
				await this.#waitForNext();
		}
	}

	async #waitForNext() {
		const wait = this.#wait_ms * (0.8 + 0.4 * Math.random());

		this.retry_at = Date.now() + wait;
		this.#wait_ms = Math.min(2 * this.#wait_ms, WAIT_MAX_MS);
		this.#enter("waiting");
		await this.#sleep(wait);
	}

	#sleep(ms) {
		return new Promise((resolve) => {
			const timer = ms === null ? null : setTimeout(resolve, ms);
			this.#wake = () => {
				clearTimeout(timer);
				resolve();
			};
		}).finally(() => { this.#wake = null; });
	}

	/* What was seen before stays until everything is there. */
	async #list() {
		const datasets = new Map();
		let after = null;

		this.read = 0;
		this.#enter("reading");
		const { nodes, revision } = await getJson("/v2/nodes");
		do {
			const from = after === null ? "" : `&after=${encodeURIComponent(after)}`;
			const page = await getJson(`/v2/datasets?limit=${PAGE}${from}`);
			page.datasets.forEach((d) => datasets.set(d.dataset_id, d));
			after = page.next;
			this.read = datasets.size;
			this.on_change();
		} while (after);
		this.nodes = new Map(nodes.map((n) => [n.uuid, withSilence(n)]));
		this.datasets = datasets;
		this.leaving.clear();
		this.#revision = revision;
		this.on_event("list", {}, null);
	}

	async #follow() {
		const abort = this.#abort = new AbortController();
		const path = `/v2/events?after=${encodeURIComponent(this.#revision)}&heartbeat=${HEARTBEAT_S}`;
		const onSilence = () => abort.abort(new Error("the server has fallen silent"));
		let timer = setTimeout(onSilence, SILENCE_MS);
		const heard = () => {
			clearTimeout(timer);
			timer = setTimeout(onSilence, SILENCE_MS);
		};

		try {
			const headers = { Accept: "text/event-stream" };
			const answer = await ask(path, { signal: abort.signal, headers });
			await this.#readStream(answer.body.getReader(), heard);
		} finally {
			clearTimeout(timer);
		}
	}

	async #readStream(reader, heard) {
		const decoder = new TextDecoder();
		const parse = eventParser((block) => this.#take(block));

		this.error = this.retry_at = null;
		this.#wait_ms = WAIT_MIN_MS;
		this.#again = false;
		this.#enter("live");
		this.#askHealth();
		for (;;) {
			const { value, done } = await reader.read();
			if (done)
				return;
			heard();
			parse(decoder.decode(value, { stream: true }));
		}
	}

	#take({ id, type, data }) {
		if (data !== undefined)
			this.#apply(type, JSON.parse(data), id);
		if (id)
			this.#revision = id;
	}

	#apply(type, object, id) {
		const isNode = type.startsWith("node");
		const table = isNode ? this.nodes : this.datasets;
		const key = isNode ? object.uuid : object.dataset_id;
		const before = table.get(key);

		if (type === "dataset" || type === "node") {
			/* The list that was read a moment ago may know more than the first events. */
			if (before && isOlder(object.revision ?? id, before.revision))
				return;
			table.set(key, isNode ? withSilence(object) : object);
		} else if (type === "lease" || type === "lease-dropped") {
			if (!before)
				return;
			table.set(key, { ...before, lease: type === "lease" ? object : null });
		} else {
			table.delete(key);
		}
		this.#noteLeaving(this.datasets.get(object.dataset_id));
		this.on_event(type, object, before);
		this.on_change();
	}

	#noteLeaving(d) {
		if (!d)
			return;
		const move = this.leaving.get(d.dataset_id);
		if (d.owner && d.node && d.owner !== d.node)
			this.leaving.set(d.dataset_id, { from: d.owner, arrived: false });
		else if (move?.arrived)
			this.leaving.delete(d.dataset_id);
		else if (move)
			move.arrived = isSettled(d);
	}

	async #askHealth() {
		try {
			const answer = await ask("/v2/health", { anyStatus: true });
			if (answer.ok || answer.status === NOT_READY) {
				this.health = await answer.json();
				this.on_change();
			}
		} catch {
			/* the stream says it too, and louder */
		}
	}

	#watchHealth() {
		setInterval(() => {
			if (this.state === "live" && !document.hidden)
				this.#askHealth();
		}, HEALTH_MS);
	}

	#onVisibility() {
		clearTimeout(this.#hiding);
		if (document.hidden) {
			this.#hiding = setTimeout(() => this.#pause(), HIDDEN_MS);
		} else if (this.state === "paused") {
			this.#enter("waiting");
			this.#wake?.();
		}
	}

	#pause() {
		if (this.state === "reading") {
			this.#hiding = setTimeout(() => this.#pause(), HIDDEN_MS);
			return;
		}
		this.#enter("paused");
		this.#abort?.abort(new Error("paused"));
	}
}
