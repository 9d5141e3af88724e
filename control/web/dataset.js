/* SPDX-License-Identifier: Apache-2.0 */
/* One dataset: its state and why, what is in the way, where it is, and what happened to it. */
import { h, visible, word } from "./dom.js";
import { isGone, judgeDataset, nodeName, withNames } from "./judge.js";
import { badge, crumb, facts, nodeLink, route, section, steps, title } from "./parts.js";
import { age, ageText, clockText, commands, fullness, moment, shortId, sizeText } from "./words.js";

const TARGETS = 2; /* nodes that are offered instead of one that is away */

function paragraphs(cluster, text) {
	return text.split("\n").filter(Boolean).map((line) => h("p", withNames(cluster, line)));
}

function trouble(d) {
	const e = d.last_error;
	const isNextKnown = d.next_retry && Date.parse(d.next_retry) > Date.now();

	return e && h("div.trouble", { key: "trouble", role: "group", "aria-label": "The last error" },
		h("p", h("b", visible(e.step), ": "), visible(e.message), " ", h("code", visible(e.code))),
		d.attempts > 1 && h("p.quiet", `${d.attempts} attempts so far`,
			isNextKnown && [", the next one in ", age(d.next_retry, true)]),
		e.holders?.length > 0 && [
			h("p", "In the way:"),
			h("ul.holders", e.holders.map((holder) => h("li", visible(holder)))),
		]);
}

/* ---- what it is ---- */

function owner(cluster, d) {
	if (!d.owner)
		return "nobody";
	return [nodeLink(cluster, d.owner), d.node_live ? "" : ", which does not answer"];
}

function size(d) {
	const isGrowing = d.volume_size && d.size > d.volume_size;

	return [sizeText(d.volume_size ?? d.size), isGrowing && `, growing to ${sizeText(d.size)}`];
}

function failover(d) {
	const f = d.failover;
	const to = Array.isArray(f?.to) ? f.to.map(shortId).join(", ") : f?.to;

	return f && [
		f.policy,
		f.term != null && `, term ${f.term} s`,
		to && `, may go to ${to}`,
		!f.in_force && h("span.warn", " (not in force yet)"),
	];
}

function fenced(d) {
	return d.fenced && `epoch ${d.fenced.epoch}, by ${
		d.fenced.proof === "operator" ? "an operator's word" : "the end of its term"}`;
}

function lease(cluster, d) {
	return d.lease && [
		nodeLink(cluster, d.lease.node),
		d.lease.expires ? [", for ", age(d.lease.expires, true)] : ", without an end",
	];
}

function deleted(d) {
	const isKept = d.undelete_until && !isGone(d);

	return d.deleted && [
		d.deleted_at ? moment(d.deleted_at) : "yes",
		isKept && [", kept for ", age(d.undelete_until, true)],
	];
}

function code(text) {
	return text && h("code", visible(text));
}

function properties(cluster, d) {
	return facts([
		["Id", code(d.dataset_id)],
		["Wanted", d.wanted === "mounted" ? ["on ", nodeLink(cluster, d.node)] : d.wanted],
		["Chosen", d.chosen && visible(d.chosen)],
		["Owner", owner(cluster, d)],
		["Epoch", String(d.epoch)],
		["Mounted at", code(d.mountpoint)],
		["Device", code(d.device)],
		["Filesystem", [d.filesystem, d.format_state !== "done" && `, formatting ${d.format_state}`]],
		["Size", size(d)],
		["In use", d.used != null && fullness(d.used, d.used + (d.available ?? 0))],
		["Failover", failover(d)],
		["Failed over", d.failed_over && "yes: its node was lost"],
		["Fenced", fenced(d)],
		["Lease", lease(cluster, d)],
		["Made", moment(d.created_at)],
		["Deleted", deleted(d)],
		["Request", code(d.request)],
		["Volume", code(d.volume_id)],
	]);
}

function metadata(d) {
	const pairs = Object.entries(d.metadata ?? {});

	return pairs.length > 0 && section("Metadata", "metadata", h("dl.facts.metadata",
		pairs.map(([k, v]) => h("div", { key: k }, h("dt", word(k)), h("dd", word(v))))));
}

/* What a person can do about it, on a terminal: this page only looks. */
function next(cluster, d) {
	const id = d.dataset_id, said = [["Follow it there", `flockerctl show --watch ${id}`]];
	const target = d.node && cluster.nodes.get(d.node);
	const others = [...cluster.nodes.values()].filter((n) => n.live && !n.draining);

	if (d.deleted && d.undelete_until && !isGone(d))
		said.push(["Take the deletion back", `flockerctl undelete ${id}`],
			["End the wait", `flockerctl purge ${id}`]);
	if (d.owner && !d.node_live)
		said.push(["If that machine is off for sure", `flockerctl node fence ${d.owner} --accept-risk`]);
	if (d.lease && d.lease.node !== d.node)
		said.push(["Unpin it", `flockerctl lease release ${id}`]);
	if (!d.deleted && target && !target.live)
		for (const n of others.slice(0, TARGETS))
			said.push([`Send it to ${visible(n.host)}`, `flockerctl move -d ${id} -t ${n.uuid}`]);
	return section("On a terminal", "commands", commands(said));
}

/* ---- what happened ---- */

function dayOf(step) {
	return clockText(step.time, true).split(" ")[0];
}

function timelineStep(cluster, s, took) {
	const clock = `${clockText(s.time)}.${s.time.slice(20, 23)}`;
	const props = { key: `${s.time} ${s.state} ${s.what}`, class: s.node ? `of-node ${s.state}` : "of-control" };

	return h("li", props,
		h("time", { datetime: s.time }, clock),
		h("span.where", s.node ? word(nodeName(cluster, s.node)) : "control"),
		h("span.state", s.node ? s.state : ""),
		h("span.what", withNames(cluster, s.what)),
		took >= 1000 && h("span.took", `after ${ageText(took)}`));
}

/* The newest on top, day by day. */
function timeline(cluster, history) {
	const list = [...history].reverse();

	return h("ol.timeline", list.map((s, i) => {
		const earlier = list[i + 1];
		const took = earlier ? Date.parse(s.time) - Date.parse(earlier.time) : 0;
		const isNewDay = i === 0 || dayOf(s) !== dayOf(list[i - 1]);

		return [isNewDay && h("li.day", { key: dayOf(s) }, dayOf(s)), timelineStep(cluster, s, took)];
	}));
}

/* @history: of the dataset asked for alone, null until it has come */
export function dataset(cluster, d, history) {
	const verdict = judgeDataset(cluster, d);
	const isAtRest = verdict.level === "ok" || verdict.level === "idle";
	const why = d.why || verdict.line;

	return [
		h("div.headline", { class: verdict.level },
			crumb("#datasets", "Datasets"),
			title(d.name ? word(d.name) : h("code", d.dataset_id)),
			h("p.head", badge(verdict), " ", route(cluster, d), h("span.age", "for ", age(d.since))),
			why && h("div.reason", paragraphs(cluster, why))),
		trouble(d),
		!isAtRest && steps(cluster, d),
		section("What it is", "facts", properties(cluster, d)),
		metadata(d),
		next(cluster, d),
		section("What happened", "history",
			history ? timeline(cluster, history) : h("p.quiet", "Reading…")),
	];
}

export function noDataset(id, error) {
	return h("div.headline", crumb("#datasets", "Datasets"),
		title(error ? "There is no such dataset" : "Reading…"), h("p.quiet", word(id)));
}
