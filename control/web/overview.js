/* SPDX-License-Identifier: Apache-2.0 */
/* What needs attention, what is under way, and what happened while this page was open. */
import { h, word } from "./dom.js";
import { datasetName, isGone, judgeDataset, judgeNode, judgeServer } from "./judge.js";
import { badge, datasetHref, datasetItem, facts, item, nodeHref, nodeItem, section, shape, title }
	from "./parts.js";
import { clockText, count, moment } from "./words.js";

const SHOWN = 12;        /* of each list: the rest is behind a link */
const FEW = 3;           /* datasets of one lost node that are told one by one */
const LINGER_MS = 8000;  /* what has arrived stays for that long */
const LOG_SHOWN = 30;

const WORDS = { bad: "broken", warn: "warning", busy: "under way", ok: "as wished", idle: "at rest" };

const since = (d) => Date.parse(d.since ?? d.created_at) || 0;

/* What stands for longest comes first, so that the list keeps its order. */
function sorted(list) {
	return list.sort((a, b) => since(a) - since(b));
}

/* Everything of the cluster, by what it needs. */
export function survey(cluster) {
	const found = { bad: [], warn: [], busy: [], ok: [], idle: [], nodes: [] };

	for (const d of cluster.datasets.values())
		if (!isGone(d))
			found[judgeDataset(cluster, d).level].push(d);
	for (const n of cluster.nodes.values())
		if (["bad", "warn"].includes(judgeNode(cluster, n).level))
			found.nodes.push(n);
	found.server = judgeServer(cluster.health);
	found.problems = found.bad.length + found.warn.length + found.nodes.length + found.server.length;
	return found;
}

function worstOf(cluster, found) {
	if (found.bad.length > 0 || found.server.some((s) => s.level === "bad") ||
		found.nodes.some((n) => judgeNode(cluster, n).level === "bad"))
		return "bad";
	return found.problems > 0 ? "warn" : "ok";
}

function summary(found) {
	if (found.problems > 0)
		return `${count(found.problems, "thing needs", "things need")} attention`;
	if (found.busy.length > 0)
		return `Nothing is wrong; ${count(found.busy.length, "dataset")} on the way`;
	return "Everything is as wished";
}

const lowered = (text) => text[0].toLowerCase() + text.slice(1);

function headline(cluster, found) {
	const nodes = [...cluster.nodes.values()].filter((n) => n.state !== "forgotten");
	const live = nodes.filter((n) => n.live).length;
	const datasets = count(cluster.datasets.size, "dataset");
	const isOld = cluster.state === "waiting"; /* good news of old is none */

	return h("div.headline", { class: isOld ? "idle" : worstOf(cluster, found) },
		isOld ? title(`When last seen: ${lowered(summary(found))}`) : title(shape(), summary(found)),
		h("p.quiet", `${datasets}, ${live} of ${count(nodes.length, "node")} live`));
}

function tally(found) {
	return h("ul.tally", { "aria-label": "Datasets by what they need" },
		Object.entries(WORDS).map(([level, name]) => {
			const n = found[level].length;
			const props = { href: `#datasets?show=${level}`, class: n > 0 ? level : "zero" };

			return h("li", { key: level },
				h("a", props, h("b", n.toLocaleString("en")), badge({ level, word: name })));
		}));
}

/* The first of a list, and the way to the rest. */
function datasetItems(cluster, list, level, withSteps) {
	const more = list.length - SHOWN;

	return [
		h("ul.items", list.slice(0, SHOWN).map((d) => datasetItem(cluster, d, withSteps))),
		more > 0 && h("p.more", h("a", { href: `#datasets?show=${level}` },
			`and ${count(more, "dataset")} more`)),
	];
}

/* A node that is away takes many datasets with it: these are told with it, as a number. */
function cutOff(cluster, found) {
	const cut = new Map();

	for (const d of found.bad)
		if (d.owner && !d.node_live)
			cut.set(d.owner, (cut.get(d.owner) ?? 0) + 1);
	for (const [uuid, n] of cut)
		if (n <= FEW || !found.nodes.includes(cluster.nodes.get(uuid)))
			cut.delete(uuid);
	return cut;
}

function problems(cluster, found) {
	const cut = cutOff(cluster, found);
	const bad = found.bad.filter((d) => d.node_live || !cut.has(d.owner));
	const others = (level) => h("ul.items",
		found.server.filter((s) => s.level === level).map((s) =>
			item(s.line, { level, word: "server", line: s.line }, null)),
		found.nodes.filter((n) => judgeNode(cluster, n).level === level).map((n) =>
			nodeItem(cluster, n, cut.get(n.uuid))));

	return section("Needs attention", "problems",
		others("bad"), datasetItems(cluster, sorted(bad), "bad"),
		others("warn"), datasetItems(cluster, sorted(found.warn), "warn"));
}

function underWay(cluster, found, arrived) {
	const late = [...arrived].filter(([, at]) => Date.now() - at < LINGER_MS)
		.map(([id]) => cluster.datasets.get(id))
		.filter((d) => d && judgeDataset(cluster, d).level === "ok");
	const list = [...sorted(found.busy), ...late];

	return list.length > 0 && section("Under way", "busy", datasetItems(cluster, list, "busy", true));
}

/* @log: newest first, of logEntry() with a key */
function happenings(log) {
	const line = (e) => h("li", { key: e.key, class: e.level },
		h("time", { datetime: new Date(e.at).toISOString() }, clockText(e.at)),
		h("span.who", h("a", { href: e.href }, word(e.name))),
		h("span.what", e.what));

	return section("As it happens", "log", log.length > 0
		? h("ol.log", log.slice(0, LOG_SHOWN).map(line))
		: h("p.quiet", "Nothing has changed since this page was opened."));
}

function server(health) {
	const certificate = (c) => [`Certificate ${c.file}`, [
		h("span", { class: c.warning ? "warn" : null }, "valid until ", moment(c.expires)), " ",
		h("span.quiet", word(c.name ?? ""))]];

	return health && section("Server", "server", facts([
		["Version", health.version],
		["Incarnation", health.incarnation],
		["Store", health.store && (health.store.writable ? "writable" : "cannot be written")],
		...(health.certificates ?? []).map(certificate),
	]));
}

/* @found: of survey() */
export function overview(cluster, found, { log, arrived }) {
	return [
		headline(cluster, found),
		tally(found),
		found.problems > 0 && problems(cluster, found),
		underWay(cluster, found, arrived),
		happenings(log),
		server(cluster.health),
	];
}

export function logEntry(cluster, type, object, what) {
	if (type === "node")
		return { at: Date.now(), what, name: object.host || object.uuid, href: nodeHref(object.uuid),
			level: judgeNode(cluster, object).level };
	return { at: Date.now(), what, name: datasetName(object), href: datasetHref(object.dataset_id),
		level: judgeDataset(cluster, object).level };
}
