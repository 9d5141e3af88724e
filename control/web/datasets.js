/* SPDX-License-Identifier: Apache-2.0 */
/* The table of datasets: what is wrong first; filtered and in pages, so ten thousand are not too many. */
import { h } from "./dom.js";
import { isGone, judgeDataset, LEVELS, nodeName } from "./judge.js";
import { badge, datasetLink, route, row, table, title } from "./parts.js";
import { age, count, fullness } from "./words.js";

const ROWS = 100;
const COLUMNS = [["Name", "name"], ["State", "state"], ["Node", "node"], ["Space", "size"], ["Since", "age"],
	["Why", "why"]];
const SHOW = {
	all: ["All", () => true],
	problems: ["Needs attention", (level) => level === "bad" || level === "warn"],
	bad: ["Broken", (level) => level === "bad"],
	warn: ["Warning", (level) => level === "warn"],
	busy: ["Under way", (level) => level === "busy"],
	ok: ["As wished", (level) => level === "ok"],
	idle: ["At rest", (level) => level === "idle"],
};

const texts = new WeakMap(); /* dataset object: what the filter looks through */
const { compare } = new Intl.Collator("en", { numeric: true });

function textOf(cluster, d) {
	let text = texts.get(d);

	if (text === undefined) {
		text = [d.name, d.dataset_id, d.state, d.wanted, d.filesystem, d.owner, d.node,
			nodeName(cluster, d.owner), nodeName(cluster, d.node),
			...Object.entries(d.metadata ?? {}).flat()].join("\n").toLowerCase();
		texts.set(d, text);
	}
	return text;
}

/* What is wrong first, then by name; those without one behind. */
function order(a, b) {
	return LEVELS.indexOf(a.verdict.level) - LEVELS.indexOf(b.verdict.level) ||
		Boolean(b.d.name) - Boolean(a.d.name) ||
		compare(a.d.name ?? "", b.d.name ?? "") ||
		compare(a.d.dataset_id, b.d.dataset_id);
}

/* [{ d, verdict }] in the order of the table. @keep: a function of the dataset, or nothing */
export function select(cluster, { q = "", show = "all", keep }) {
	const words = q.toLowerCase().split(/\s+/).filter(Boolean);
	const [, fits] = SHOW[show] ?? SHOW.all;
	const found = [];

	for (const d of cluster.datasets.values()) {
		if (isGone(d) || (keep && !keep(d)))
			continue;
		const verdict = judgeDataset(cluster, d);
		if (fits(verdict.level) && words.every((w) => textOf(cluster, d).includes(w)))
			found.push({ d, verdict });
	}
	return found.sort(order);
}

function space(d) {
	return d.used == null ? fullness(null, d.size) : fullness(d.used, d.used + (d.available ?? 0));
}

export function datasetTable(cluster, caption, found) {
	return table("datasets", caption, COLUMNS, found.map(({ d, verdict }) =>
		row(d.dataset_id, verdict.level, COLUMNS, [
			datasetLink(d, { "data-row": d.dataset_id }),
			badge(verdict),
			route(cluster, d),
			space(d),
			age(d.since),
			h("span.line", verdict.line),
		])));
}

function pager(page, pages, go) {
	const button = (name, to) => h("button", {
		type: "button",
		disabled: to < 1 || to > pages,
		onclick: () => go(to),
	}, name);

	return pages > 1 && h("nav.pager", { "aria-label": "Pages" },
		button("Previous", page - 1), h("span", `Page ${page} of ${pages}`), button("Next", page + 1));
}

function filters(query, change) {
	const show = query.show ?? "all";

	return h("form.filters", { role: "search", onsubmit: (e) => e.preventDefault() },
		h("label", { for: "q" }, "Filter"),
		h("input", {
			id: "q",
			type: "search",
			value: query.q ?? "",
			autocomplete: "off",
			spellcheck: "false",
			maxlength: "200",
			placeholder: "name, id, node, state, metadata",
			oninput: (e) => change({ q: e.currentTarget.value, page: 1 }),
		}),
		h("label", { for: "show" }, "Show"),
		h("select", { id: "show", onchange: (e) => change({ show: e.currentTarget.value, page: 1 }) },
			Object.entries(SHOW).map(([name, [text]]) =>
				h("option", { key: name, value: name, selected: show === name }, text))));
}

/* @query: { q, show, page } of the address; change(more) puts others there. */
export function datasets(cluster, query, change) {
	const found = select(cluster, query);
	const pages = Math.max(1, Math.ceil(found.length / ROWS));
	const page = Math.min(pages, Math.max(1, Number(query.page) || 1));
	const shown = found.slice((page - 1) * ROWS, page * ROWS);
	const all = cluster.datasets.size, total = count(all, "dataset");
	const caption = "Datasets: what is wrong comes first. Arrow keys go from row to row.";

	return [
		title("Datasets"),
		filters(query, change),
		h("div.bar-of-table",
			h("p.quiet", { role: "status" }, found.length === all ? total
				: `${found.length.toLocaleString("en")} of ${total}`),
			pager(page, pages, (to) => change({ page: to }))),
		shown.length > 0 ? datasetTable(cluster, caption, shown)
			: h("p.empty", all === 0 ? "There is no dataset yet." : "No dataset is like that."),
	];
}
