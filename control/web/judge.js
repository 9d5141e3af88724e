/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What needs attention, and what does not. Pure: from objects of the API to { level, word, line }.
 *
 *   bad   data cannot be reached, or nothing goes on without a person
 *   warn  it goes on, but not as it should
 *   busy  on its way, as wished
 *   ok    as wished
 *   idle  at rest and not in use, as wished
 */
import { now, sizeText } from "./words.js";
import { visible } from "./dom.js";

export const LEVELS = ["bad", "warn", "busy", "ok", "idle"];

const SLOW_MS = 60000; /* what takes longer than this between two steps is told as a warning */
const BROKEN = {
	failed: "the last attempt failed",
	blocked: "nothing goes on without a person",
	lost: "its volume is missing",
	faulty: "mounted, but read-only or in error",
	fenced: "its grant is over; it is being cleaned up",
};

export function nodeName(cluster, uuid) {
	if (!uuid)
		return "no node";
	return cluster.nodes.get(uuid)?.host || uuid.slice(0, 8);
}

/* The server names nodes by their ids; people know their addresses. */
export function withNames(cluster, text) {
	return visible(text).replace(/\bnode [0-9a-f]{8} \(([^()]+)\)/g, "node $1")
		.replace(/\bnode ([0-9a-f]{8}-[0-9a-f-]{27})\b/g, (whole, uuid) =>
			cluster.nodes.has(uuid) ? `node ${visible(nodeName(cluster, uuid))}` : whole);
}

export const datasetName = (d) => d.name || d.dataset_id;

export const isGone = (d) => d.state === "destroyed";

/* As wished, with nothing left to do. */
export function isSettled(d) {
	if (d.wanted === "mounted")
		return d.state === "mounted" && d.owner === d.node && d.node_live && !isGrowing(d);
	if (d.wanted === "deleted")
		return isGone(d) || (isKept(d) && !d.owner);
	return !d.owner;
}

const isKept = (d) => Boolean(d.deleted && d.undelete_until && Date.parse(d.undelete_until) > now());

export function isGrowing(d) {
	return Boolean(d.volume_size && d.size > d.volume_size);
}

function verdict(level, word, line) {
	return { level, word, line };
}

/* Pinned elsewhere it waits by somebody's wish, and may wait for long. */
function isPinned(d) {
	return Boolean(d.lease && (d.wanted !== "mounted" || d.lease.node !== d.node));
}

function judgeWaiting(cluster, d) {
	const wished = d.node && cluster.nodes.get(d.node);

	if (isPinned(d))
		return verdict("busy", "pinned", "waits until its lease ends");
	if (d.wanted === "mounted" && !d.owner && wished && !wished.live)
		return verdict("bad", "waiting", `${wished.host}, which is to have it, does not answer`);
	if (d.wanted === "mounted" && !d.node)
		return verdict("warn", "no node", "no node can take it");
	if (d.since && now() - Date.parse(d.since) > SLOW_MS)
		return verdict("warn", d.state, "this takes long");
	return verdict("busy", d.state !== "mounted" ? d.state : isGrowing(d) ? "growing" : "to leave", "");
}

function judgeState(cluster, d) {
	if (d.owner && !d.node_live)
		return verdict("bad", "cut off", `${nodeName(cluster, d.owner)}, which has it, does not answer`);
	if (BROKEN[d.state])
		return verdict(d.state === "fenced" ? "warn" : "bad", d.state, BROKEN[d.state]);
	if (isSettled(d)) {
		if (d.wanted === "mounted")
			return verdict("ok", "mounted", "");
		return verdict("idle", d.deleted ? (isGone(d) ? "destroyed" : "deleted") : "unplaced", "");
	}
	if (d.last_error)
		return verdict("warn", d.state, "");
	return judgeWaiting(cluster, d);
}

export function judgeDataset(cluster, d) {
	const v = judgeState(cluster, d);

	/* The server's own words know more than ours. */
	if (v.level !== "ok" && d.why)
		v.line = withNames(cluster, d.why.split("\n")[0]);
	if (v.level === "ok" && d.last_error)
		return verdict("warn", v.word, d.last_error.message);
	return v;
}

const NODE_LEVELS = { away: "warn", lost: "bad", "given-up": "idle", forgotten: "idle", refused: "bad" };
const NODE_LINES = {
	away: "its connection has ended; it may come back by itself",
	lost: "it does not answer",
	"given-up": "fenced; what it had may go elsewhere",
	forgotten: "its identity is refused for ever",
	refused: "it was refused",
};

function judgeDrain(cluster, n) {
	const stuck = n.drain?.stuck ?? [];

	if (stuck.length > 0)
		return verdict("warn", "draining", `${stuck.length} cannot move: ${withNames(cluster, stuck[0].why)}`);
	if (n.drained)
		return verdict("idle", "drained", "empty: it can be taken away, or undrained");
	return verdict("busy", "draining", `${n.drain?.left ?? n.n_datasets} left to move away`);
}

export function judgeNode(cluster, n) {
	const warning = (n.backends ?? []).find((b) => b.warning);

	if (n.refused)
		return verdict("bad", "refused", visible(n.refused));
	if (!n.live) {
		const level = NODE_LEVELS[n.state] ?? "bad";
		/* One with nothing on it is missed by nobody. */
		const isMissed = level !== "bad" || n.n_datasets > 0;
		return verdict(isMissed ? level : "warn", n.state, NODE_LINES[n.state] ?? "");
	}
	if (n.awaited)
		return verdict("busy", "awaited", "it has not said yet what it holds");
	if (warning)
		return verdict("warn", "low space", `${warning.name}: ${visible(warning.warning)}`);
	if (n.draining)
		return judgeDrain(cluster, n);
	if ((n.unknown_datasets ?? []).length > 0)
		return verdict("warn", "live", "it holds datasets that the server does not know");
	return verdict("ok", "live", "");
}

/* What the server says of itself: [{ level, line }] */
export function judgeServer(health) {
	const found = [];

	if (!health)
		return found;
	if (!health.ready)
		for (const reason of health.reasons?.length ? health.reasons : ["it is not ready"])
			found.push({ level: "bad", line: visible(reason) });
	for (const c of health.certificates ?? [])
		if (c.warning)
			found.push({ level: "warn", line: visible(`${c.file}: ${c.warning}`) });
	return found;
}

const MOVE = ["unmount", "detach", "attach", "mount"];
const MAKE = ["create", "attach", "format", "mount"];
const COME = ["attach", "mount"];
const GO = ["unmount", "detach"];
const END = ["unmount", "detach", "destroy"];
const AT = { /* the step that a state stands for */
	creating: "create", attaching: "attach", attached: "attach", formatting: "format", mounting: "mount",
	unmounting: "unmount", detaching: "detach", released: "detach", destroying: "destroy",
};

/* The steps of what is under way, and how many of them are done: { steps, at }. */
export function stepsOf(cluster, d) {
	const elsewhere = d.owner && d.owner !== d.node;
	const isLeaving = elsewhere || cluster.leaving.has(d.dataset_id) || GO.includes(AT[d.state]);
	const steps = d.wanted === "deleted" ? END : d.wanted === "unplaced" ? GO
		: d.format_state !== "done" ? MAKE : isLeaving ? MOVE : COME;
	const at = steps.indexOf(AT[d.state]);

	if (isSettled(d))
		return { steps, at: steps.length };
	if (at >= 0)
		return { steps, at };
	return { steps, at: d.state === "mounted" || elsewhere || steps !== MOVE ? 0 : 2 };
}

/* What changed for people, or null: told in the list of what happens. */
export function tellChange(cluster, d, before) {
	const where = nodeName(cluster, d.owner ?? d.node), wished = nodeName(cluster, d.node);
	const isNew = now() - Date.parse(d.created_at) < SLOW_MS;

	if (!before)
		return isNew ? `made; wanted on ${wished}` : null;
	if (d.deleted && !before.deleted)
		return "deleted";
	if (!d.deleted && before.deleted)
		return "undeleted";
	if (d.node !== before.node)
		return `wanted on ${wished}, no longer on ${nodeName(cluster, before.node)}`;
	if (d.fenced && d.fenced.epoch !== before.fenced?.epoch)
		return `fenced: what ${nodeName(cluster, before.owner)} had is over`;
	if (d.state !== before.state)
		return `${d.state}${d.owner ? ` on ${where}` : ""}`;
	if (d.owner !== before.owner && d.owner)
		return `granted to ${where}`;
	if (d.last_error && d.last_error.code !== before.last_error?.code)
		return `${d.last_error.step}: ${visible(d.last_error.message)}`;
	if (d.size !== before.size)
		return `to be ${sizeText(d.size)}`;
	if (d.volume_size !== before.volume_size && before.volume_size)
		return `grown to ${sizeText(d.volume_size)}`;
	if (Boolean(d.lease) !== Boolean(before.lease))
		return d.lease ? `pinned to ${nodeName(cluster, d.lease.node)} by a lease` : "its lease is over";
	return null;
}

export function tellNodeChange(cluster, n, before) {
	if (!before)
		return "seen for the first time";
	if (n.state !== before.state)
		return judgeNode(cluster, n).word === n.state ? n.state : `${n.state}, ${judgeNode(cluster, n).word}`;
	if (n.draining !== before.draining)
		return n.draining ? "to be drained" : "no longer drained";
	if (n.drained && !before.drained)
		return "drained: nothing is left on it";
	if (n.refused && n.refused !== before.refused)
		return visible(n.refused);
	return null;
}
