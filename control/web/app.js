/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page of a Flocker cluster. It only looks: what there is to do, it says as commands of flockerctl.
 *
 *   cluster.js   what the server tells, and how to stay in touch with it
 *   judge.js     what needs attention
 *   overview.js datasets.js dataset.js nodes.js   views: from the cluster to what is to be seen
 *   dom.js       from what is to be seen to the document
 *
 * The part of the address behind "#" names the view, so links, bookmarks and the back button work.
 */
import { Cluster, getJson } from "./cluster.js";
import { h, patch, visible } from "./dom.js";
import { datasetName, isGone, judgeDataset, judgeNode, tellChange, tellNodeChange } from "./judge.js";
import { logEntry, overview, survey } from "./overview.js";
import { datasets } from "./datasets.js";
import { dataset, noDataset } from "./dataset.js";
import { node, nodes, noNode } from "./nodes.js";
import { badge, title } from "./parts.js";
import { clockText, count, tick } from "./words.js";

const VIEWS = [["", "Overview"], ["datasets", "Datasets"], ["nodes", "Nodes"]];
const LOG_MAX = 100;
const DRAW_MIN_MS = 80;
const HISTORY_MIN_MS = 250;
const SPEAK_MS = 4000;
const GONE_MS = 60000; /* a destroyed dataset can be looked at for that long */

const $ = (id) => document.getElementById(id);
const cluster = new Cluster(drawSoon, onEvent);
const log = [], arrived = new Map();
let place = readPlace(), drawing = null, draw_ms = 0, n_logged = 0;
let detail = { id: null, object: null, history: null, error: null, asked: 0, timer: null };

/* ---- where we are ---- */

function readPlace() {
	const [path, query] = location.hash.slice(1).split("?");
	const [view, ...rest] = path.split("/");
	let id = rest.join("/");

	try {
		id = decodeURIComponent(id);
	} catch {
		/* as it stands, then */
	}
	return { view, id, query: Object.fromEntries(new URLSearchParams(query ?? "")) };
}

function changeQuery(more) {
	const query = new URLSearchParams();

	for (const [k, v] of Object.entries({ ...place.query, ...more }))
		if (v && !(k === "show" && v === "all") && !(k === "page" && Number(v) === 1))
			query.set(k, v);
	const text = query.toString();
	history.replaceState(null, "", `#${place.view}${text && `?${text}`}`);
	place = readPlace();
	draw();
}

function onHashChange() {
	const before = place;

	place = readPlace();
	draw();
	scrollTo(0, 0);
	/* Back in a table, one goes on where one was. */
	const row = before.id && !place.id && document.querySelector(`[data-row="${CSS.escape(before.id)}"]`);
	(row || $("title") || $("main")).focus();
}

/* ---- what there is to see ---- */

function viewOf(found) {
	if (!cluster.seen)
		return h("div.headline", title("Reading the cluster…"),
			h("p.quiet", cluster.read > 0 ? `${count(cluster.read, "dataset")} so far` : ""));
	switch (place.view) {
	case "datasets":
		return datasets(cluster, place.query, changeQuery);
	case "dataset":
		return datasetView();
	case "nodes":
		return nodes(cluster);
	case "node": {
		const n = cluster.nodes.get(place.id);
		return n ? node(cluster, n) : noNode(place.id);
	}
	default:
		return overview(cluster, found, { log, arrived });
	}
}

function datasetView() {
	if (detail.id !== place.id) {
		clearTimeout(detail.timer);
		detail = { id: place.id, object: null, history: null, error: null, asked: 0, timer: null };
		askDetailSoon();
	}
	const d = cluster.datasets.get(place.id) ?? detail.object;
	return d ? dataset(cluster, d, detail.history) : noDataset(place.id, detail.error);
}

/* The history is in the answer for one dataset alone. */
function askDetailSoon() {
	const mine = detail;

	if (mine.timer)
		return;
	mine.timer = setTimeout(async () => {
		mine.asked = Date.now();
		try {
			mine.object = await getJson(`/v2/datasets/${encodeURIComponent(mine.id)}`);
			mine.history = mine.object.history;
			mine.error = null;
		} catch (e) {
			mine.error = e.message;
		}
		mine.timer = null;
		drawSoon();
	}, Math.max(0, mine.asked + HISTORY_MIN_MS - Date.now()));
}

function navigation() {
	const here = { dataset: "datasets", node: "nodes" }[place.view] ?? place.view;

	return h("ul", VIEWS.map(([view, name]) => h("li", { key: view },
		h("a", { href: `#${view}`, "aria-current": here === view ? "page" : null }, name))));
}

const LINK = {
	reading: { level: "busy", word: "Reading" },
	live: { level: "ok", word: "Live" },
	waiting: { level: "bad", word: "Not connected" },
	paused: { level: "idle", word: "Paused" },
};

function notice() {
	if (cluster.state !== "waiting" || !cluster.error)
		return null;
	const why = visible(cluster.error).replace(/\.$/, "");

	return h("p.notice.bad", `No connection to the server: ${why}. `,
		cluster.seen && `What you see is from ${clockText(cluster.since)}. `,
		"It is tried again by itself.");
}

function draw() {
	const begun = performance.now();
	const found = survey(cluster);

	clearTimeout(drawing);
	drawing = null;
	patch($("nav"), navigation());
	patch($("link"), badge(LINK[cluster.state]));
	patch($("notice"), notice());
	patch($("main"), viewOf(found));
	document.body.className = cluster.state;
	drawTitle(found);
	draw_ms = performance.now() - begun;
}

function drawTitle({ problems }) {
	const mark = cluster.state === "waiting" ? "✕ " : problems > 0 ? `▲ ${problems} · ` : "";

	document.title = `${mark}Flocker`;
}

/* Many events make one picture; a large cluster may take no more than a tenth of the browser's time. */
function drawSoon() {
	drawing ??= setTimeout(draw, Math.max(DRAW_MIN_MS, 10 * draw_ms));
}

/* ---- what happens ---- */

function remember(type, object, what) {
	if (!what)
		return;
	log.unshift({ key: ++n_logged, ...logEntry(cluster, type, object, what) });
	log.length = Math.min(log.length, LOG_MAX);
}

const isProblem = (verdict) => verdict.level === "bad" || verdict.level === "warn";

function onEvent(type, object, before) {
	if (type === "node") {
		const what = tellNodeChange(cluster, object, before), verdict = judgeNode(cluster, object);

		remember("node", object, what);
		if (what)
			speak(`Node ${visible(object.host)}: ${verdict.line || what}`, isProblem(verdict));
	} else if (object.dataset_id) {
		onDatasetEvent(cluster.datasets.get(object.dataset_id), before);
	}
	if (place.view === "dataset" && (type === "list" || object.dataset_id === detail.id))
		askDetailSoon();
}

function onDatasetEvent(d, before) {
	if (!d)
		return;
	const verdict = judgeDataset(cluster, d);
	const was = before && judgeDataset(cluster, before).level;
	const name = visible(datasetName(d));

	remember("dataset", d, tellChange(cluster, d, before));
	if (verdict.level === "ok" && was !== "ok")
		arrived.set(d.dataset_id, Date.now());
	else
		arrived.delete(d.dataset_id);
	if (isProblem(verdict) && was !== verdict.level)
		speak(`${name}: ${verdict.word}. ${verdict.line}`, true);
	else if (verdict.level === "ok" && was && was !== "ok")
		speak(`${name}: mounted, as wished`, false);
	if (isGone(d))
		setTimeout(() => {
			if (isGone(cluster.datasets.get(d.dataset_id) ?? {}))
				cluster.datasets.delete(d.dataset_id);
		}, GONE_MS);
}

/* ---- for those who listen ---- */

let said = [];

/* A few words at a time: a burst is told as a number. */
function speak(text, urgent) {
	if (urgent)
		said.unshift(text);
	else
		said.push(text);
}

function sayIt() {
	if (said.length === 0)
		return;
	$("spoken").textContent = said[0].replace(/\.?$/, ".") + (said.length > 1 ? ` ${said.length - 1} more changed.` : "");
	said = [];
}

addEventListener("hashchange", onHashChange);
$("skip").addEventListener("click", (e) => {
	e.preventDefault();
	$("main").focus();
});
setInterval(tick, 1000);
setInterval(drawSoon, 5000); /* what takes long becomes a warning with no event */
setInterval(sayIt, SPEAK_MS);
draw();
cluster.start();
