/* SPDX-License-Identifier: Apache-2.0 */
/* Times, sizes and commands as people read them. */
import { h } from "./dom.js";

let ahead_ms = 0; /* the server's clock, compared with this browser's */

/* @date: the Date header of an answer. Its seconds are whole, so small differences mean nothing. */
export function learnClock(date) {
	const difference = Date.parse(date) - Date.now();

	if (Number.isFinite(difference))
		ahead_ms = Math.abs(difference) < 2000 ? 0 : difference;
}

export function now() {
	return Date.now() + ahead_ms;
}

export function ageText(ms) {
	const s = Math.max(0, Math.floor(ms / 1000));

	if (s < 60)
		return `${s} s`;
	if (s < 3600)
		return `${Math.floor(s / 60)} min`;
	if (s < 48 * 3600)
		return `${Math.floor(s / 3600)} h`;
	return `${Math.floor(s / 86400)} d`;
}

const two = (n) => String(n).padStart(2, "0");

export function clockText(time, withDate) {
	const t = new Date(time);
	const clock = [t.getHours(), t.getMinutes(), t.getSeconds()].map(two).join(":");

	return withDate ? `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())} ${clock}` : clock;
}

/* How long ago, or how long until; tick() keeps it true. */
export function age(time, until = false) {
	const at = Date.parse(time);

	if (!Number.isFinite(at))
		return h("span.none", "–");
	return h("time", {
		datetime: time,
		title: clockText(at, true),
		"data-tick": until ? "until" : "since",
	}, ageText(until ? at - now() : now() - at));
}

export function tick() {
	for (const el of document.querySelectorAll("time[data-tick]")) {
		const at = Date.parse(el.getAttribute("datetime"));
		const text = ageText(el.getAttribute("data-tick") === "until" ? at - now() : now() - at);
		if (el.firstChild?.nodeValue !== text)
			el.firstChild.nodeValue = text;
	}
}

export function moment(time) {
	const at = Date.parse(time);

	return h("time", { datetime: time }, Number.isFinite(at) ? clockText(at, true) : "–");
}

export function sizeText(bytes) {
	const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
	let v = bytes, unit = 0;

	if (bytes == null)
		return "–";
	while (v >= 1024 && unit < units.length - 1) {
		v /= 1024;
		unit++;
	}
	return `${v >= 100 || Number.isInteger(v) ? Math.round(v) : v.toFixed(1)} ${units[unit]}`;
}

/* How full: a bar for the eye beside words for everybody. */
export function fullness(used, total) {
	if (used == null || !total)
		return h("span", sizeText(total));
	const share = Math.min(1, used / total);
	const level = share >= 0.95 ? "bad" : share >= 0.85 ? "warn" : null;
	return h("span.space",
		h("span.bar", { class: level, "aria-hidden": "true", style: { "--share": share.toFixed(3) } }),
		h("span.number", `${sizeText(used)} of ${sizeText(total)}`));
}

export function count(n, one, many = `${one}s`) {
	return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}

export const shortId = (id) => id.slice(0, 8);

async function copy(button, text) {
	try {
		await navigator.clipboard.writeText(text);
		button.textContent = "Copied";
	} catch {
		getSelection().selectAllChildren(button.previousSibling);
		button.textContent = "Selected";
	}
	setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

/* What an operator may want to say next. @lines: [what it is good for, the command] */
export function commands(lines) {
	return h("ul.commands", lines.map(([what, command]) => h("li", { key: command },
		h("span.what", what),
		h("code", command),
		h("button", {
			type: "button",
			"aria-label": `Copy: ${command}`,
			onclick: (e) => copy(e.currentTarget, command),
		}, "Copy"))));
}
