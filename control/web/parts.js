/* SPDX-License-Identifier: Apache-2.0 */
/* What several views are made of. */
import { h, visible, word } from "./dom.js";
import { isSettled, judgeDataset, judgeNode, nodeName, stepsOf } from "./judge.js";
import { age, count, shortId } from "./words.js";

export const datasetHref = (id) => `#dataset/${encodeURIComponent(id)}`;
export const nodeHref = (uuid) => `#node/${encodeURIComponent(uuid)}`;
export const none = () => h("span.none", "–");

/* A state by shape, colour and word. */
export function badge(verdict) {
	return h("span.badge", { class: verdict.level }, shape(), verdict.word);
}

export function shape() {
	return h("span.shape", { "aria-hidden": "true" });
}

/* Where a person looks first, and where the focus goes when the view changes. */
export function title(...content) {
	return h("h1", { id: "title", tabindex: "-1" }, content);
}

/* The way back. */
export function crumb(href, name) {
	return h("p.crumb", h("a", { href }, name));
}

export function section(name, id, ...content) {
	return h("section", { key: id, "aria-labelledby": id }, h("h2", { id }, name), content);
}

export function facts(pairs) {
	const said = pairs.filter(([, v]) => v != null && v !== false);

	return h("dl.facts", said.map(([name, v]) => h("div", { key: name }, h("dt", name), h("dd", v))));
}

/* ---- datasets and nodes ---- */

export function datasetLink(d, props) {
	const whole = d.name ? `${visible(d.name)} (${d.dataset_id})` : d.dataset_id;

	return h("a", { href: datasetHref(d.dataset_id), title: whole, ...props },
		d.name ? word(d.name) : h("code", shortId(d.dataset_id)));
}

export function nodeLink(cluster, uuid) {
	if (!uuid)
		return none();
	return h("a", { href: nodeHref(uuid), title: uuid }, word(nodeName(cluster, uuid)));
}

/* From where to where; one node when that is the same. */
export function route(cluster, d) {
	const from = cluster.leaving.get(d.dataset_id)?.from ?? d.owner;

	if (from && d.wanted === "mounted" && from !== d.node && !isSettled(d))
		return h("span.route", nodeLink(cluster, from), " → ", nodeLink(cluster, d.node));
	return nodeLink(cluster, d.owner ?? d.node);
}

export function steps(cluster, d) {
	const { steps: all, at } = stepsOf(cluster, d);
	const label = at < all.length ? `Step ${at + 1} of ${all.length}: ${all[at]}` : "All steps are done";

	return h("ol.steps", { "aria-label": label }, all.map((name, i) => h("li", {
		key: name,
		class: i < at ? "done" : i === at ? "now" : "next",
		"aria-current": i === at ? "step" : null,
	}, name)));
}

/* ---- lists of what is to be seen: each with one line that says why ---- */

export function item(key, verdict, head, ...more) {
	return h("li.item", { key, class: verdict.level },
		h("p.head", badge(verdict), head),
		verdict.line && h("p.line", verdict.line),
		more);
}

export function datasetItem(cluster, d, withSteps) {
	const place = h("span.quiet", route(cluster, d));

	return item(d.dataset_id, judgeDataset(cluster, d),
		[datasetLink(d), " ", place, h("span.age", age(d.since))],
		withSteps && steps(cluster, d));
}

/* @n_cut: datasets on it that cannot be reached, and are not told one by one */
export function nodeItem(cluster, n, n_cut) {
	return item(n.uuid, judgeNode(cluster, n),
		["Node ", nodeLink(cluster, n.uuid), " ", h("span.quiet", count(n.n_datasets, "dataset")),
			!n.live && h("span.age", age(n.silent_since))],
		n_cut > 0 && h("p.line", h("a", { href: `#datasets?q=${n.uuid}&show=bad` },
			`${count(n_cut, "dataset")} cannot be reached`)));
}

/* ---- tables: the arrow keys go through their rows ---- */

/* @columns: [name, class]; @rows: of row() */
export function table(kind, caption, columns, rows) {
	const head = columns.map(([name, column]) =>
		h("th", { role: "columnheader", scope: "col", class: column }, name));

	/* The roles are said, since a narrow screen shows no table and it still is one. */
	return h("table", { role: "table", class: kind },
		h("caption.unseen", caption),
		h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)),
		h("tbody", { role: "rowgroup", onkeydown: onArrow }, rows));
}

export function row(key, level, columns, cells) {
	return h("tr", { key, role: "row", class: level }, cells.map((content, i) => {
		const [name, column] = columns[i];
		const props = { class: column, "data-label": name };

		return i === 0 ? h("th", { role: "rowheader", scope: "row", ...props }, content)
			: h("td", { role: "cell", ...props }, content);
	}));
}

/* To the row above or below, to the first or the last. */
function onArrow(e) {
	const links = [...e.currentTarget.querySelectorAll("tr > :first-child a")];
	const at = links.findIndex((a) => a.closest("tr").contains(document.activeElement));
	const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[e.key];

	if (to === undefined || e.altKey || e.ctrlKey || e.metaKey || !links[to])
		return;
	e.preventDefault();
	links[to].focus();
}
