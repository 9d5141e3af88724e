/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes: who is there, who is to be emptied, and the space behind them. */
import { h, visible, word } from "./dom.js";
import { datasetName, judgeNode, LEVELS, withNames } from "./judge.js";
import { badge, crumb, datasetHref, facts, item, nodeHref, nodeLink, none, row, section, table, title }
	from "./parts.js";
import { datasetTable, select } from "./datasets.js";
import { age, commands, count, fullness, sizeText } from "./words.js";

const COLUMNS = [["Node", "name"], ["State", "state"], ["Datasets", "number"], ["Space", "size"],
	["Version", "version"], ["Why", "why"]];
const SPACE_COLUMNS = [["Backend", "name"], ["Node", "node"], ["Driver", "version"], ["Space", "size"],
	["Can", "can"], ["Warning", "why"]];
const ROWS = 200;

const { compare } = new Intl.Collator("en", { numeric: true });
const hostOf = (n) => n.host || n.uuid;

/* ---- all of them ---- */

function fullnessOf(b) {
	const isKnown = b.capacity != null && b.free != null;

	if (b.capacity == null && b.free != null)
		return h("span.number", `${sizeText(b.free)} free`);
	return fullness(isKnown ? b.capacity - b.free : null, b.capacity);
}

/* Thin volumes may come to need more than there is. */
function promised(b) {
	return b.promised != null && h("p.quiet", `${sizeText(b.promised)} promised to volumes`);
}

function spaceOf(n) {
	const known = (n.backends ?? []).filter((b) => b.capacity != null || b.free != null);

	return known.length > 0 ? known.map((b) => h("div", { key: b.name }, fullnessOf(b))) : none();
}

function order(a, b) {
	return LEVELS.indexOf(a.verdict.level) - LEVELS.indexOf(b.verdict.level) ||
		compare(hostOf(a.n), hostOf(b.n)) || compare(a.n.uuid, b.n.uuid);
}

function nodeTable(cluster) {
	const list = [...cluster.nodes.values()].map((n) => ({ n, verdict: judgeNode(cluster, n) })).sort(order);

	return table("nodes", "Nodes: what is wrong comes first. Arrow keys go from row to row.", COLUMNS,
		list.map(({ n, verdict }) => row(n.uuid, verdict.level, COLUMNS, [
			h("a", { href: nodeHref(n.uuid), title: n.uuid, "data-row": n.uuid }, word(hostOf(n))),
			badge(verdict),
			String(n.n_datasets),
			spaceOf(n),
			visible(n.version ?? "–"),
			h("span.line", verdict.line),
		])));
}

/* [{ b, n, n_nodes }]. A shared backend is one space, however many nodes reach it: it has no @n. */
function spaces(cluster) {
	const shared = new Map(), own = [];

	for (const n of cluster.nodes.values()) {
		for (const b of n.live ? n.backends ?? [] : []) {
			const one = shared.get(b.name);
			if (!b.shared)
				own.push({ b, n });
			else if (!one)
				shared.set(b.name, { b, n_nodes: 1 });
			else
				shared.set(b.name, { b: one.b.warning ? one.b : b, n_nodes: one.n_nodes + 1 });
		}
	}
	return [...shared.values(), ...own].sort((x, y) =>
		Boolean(y.b.warning) - Boolean(x.b.warning) || compare(x.b.name, y.b.name));
}

function spaceRow(cluster, { b, n, n_nodes }) {
	return row(n ? `${n.uuid} ${b.name}` : b.name, b.warning ? "warn" : "ok", SPACE_COLUMNS, [
		word(b.name),
		n ? nodeLink(cluster, n.uuid) : `shared by ${count(n_nodes, "node")}`,
		visible(b.driver),
		[fullnessOf(b), promised(b)],
		(b.capabilities ?? []).map(visible).join(", "),
		b.warning ? [badge({ level: "warn", word: "warning" }), " ", visible(b.warning)] : "",
	]);
}

function space(cluster) {
	const rows = spaces(cluster).slice(0, ROWS).map((one) => spaceRow(cluster, one));

	return section("Space", "space", rows.length > 0
		? table("spaces", "Backends and their space", SPACE_COLUMNS, rows)
		: h("p.empty", "No live node tells of a backend."));
}

export function nodes(cluster) {
	if (cluster.nodes.size === 0)
		return [title("Nodes"), h("p.empty", "No node has said hello yet.")];
	return [title("Nodes"), nodeTable(cluster), space(cluster)];
}

/* ---- one ---- */

function stuck(cluster, n) {
	const list = n.drain?.stuck ?? [];

	return list.length > 0 && section("Cannot move", "stuck", h("ul.items", list.map((s) =>
		item(s.dataset_id, { level: "warn", word: "stays", line: withNames(cluster, s.why) },
			h("a", { href: datasetHref(s.dataset_id) }, word(datasetName(s)))))));
}

/* What a person can do about it, on a terminal. */
function next(n) {
	const isForgotten = n.state === "forgotten", said = [];

	if (n.live && !n.draining)
		said.push(["Empty it, to take it away", `flockerctl node drain ${n.uuid}`]);
	if (n.draining)
		said.push(["Use it again", `flockerctl node undrain ${n.uuid}`]);
	if (!n.live && !isForgotten && n.state !== "given-up")
		said.push(["If the machine is off for sure", `flockerctl node fence ${n.uuid} --accept-risk`]);
	if (!n.live && !isForgotten)
		said.push(["If it never comes back", `flockerctl node forget ${n.uuid} --accept-risk`]);
	if (n.refused && !isForgotten)
		said.push(["If another machine is to have its identity", `flockerctl node replace ${n.uuid}`]);
	return said.length > 0 && section("On a terminal", "commands", commands(said));
}

function backend(b) {
	return [`Backend ${visible(b.name)}`, [
		[fullnessOf(b), promised(b)],
		h("span.quiet", " ", visible(b.driver), b.shared && ", shared",
			b.allocation_unit && `, in units of ${sizeText(b.allocation_unit)}`),
		b.warning && h("p.warn", visible(b.warning)),
	]];
}

function unknown(n) {
	const ids = n.unknown_datasets ?? [];

	return ids.length > 0 && h("ul", ids.map((id) => h("li", { key: id }, h("code", id))));
}

function properties(n) {
	return facts([
		["Id", h("code", n.uuid)],
		["Address", visible(n.host ?? "–")],
		["Version", visible(n.version ?? "–")],
		["Silent", !n.live && n.silent_since && ["for ", age(n.silent_since)]],
		["Boot", n.boot && h("code", n.boot)],
		["To be drained", n.drain && ["for ", age(n.drain.since), `, ${n.drain.left} left`]],
		["Unknown datasets", unknown(n)],
		...(n.backends ?? []).map(backend),
	]);
}

function itsDatasets(cluster, n) {
	const found = select(cluster, { keep: (d) => d.owner === n.uuid || d.node === n.uuid });
	const rest = count(found.length - ROWS, "dataset");

	if (found.length === 0)
		return section("Datasets", "its-datasets", h("p.empty", "None is here or wanted here."));
	return section("Datasets", "its-datasets",
		datasetTable(cluster, "Datasets that are here or wanted here", found.slice(0, ROWS)),
		found.length > ROWS && h("p.more", h("a", { href: `#datasets?q=${n.uuid}` }, `and ${rest} more`)));
}

export function node(cluster, n) {
	const verdict = judgeNode(cluster, n);

	return [
		h("div.headline", { class: verdict.level },
			crumb("#nodes", "Nodes"),
			title(word(hostOf(n))),
			h("p.head", badge(verdict)),
			verdict.line && h("div.reason", h("p", verdict.line))),
		stuck(cluster, n),
		section("What it is", "facts", properties(n)),
		next(n),
		itsDatasets(cluster, n),
	];
}

export function noNode(id) {
	return h("div.headline", crumb("#nodes", "Nodes"),
		title("There is no such node"), h("p.quiet", word(id)));
}
