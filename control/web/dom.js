/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a view wants to show is a tree of h(); patch() makes the document like it and leaves alone what is
 * as it should be already: focus, selected text and open details survive a change beside them. Text only
 * ever becomes text nodes, since names and metadata are strangers' words.
 */

const known = new WeakMap(); /* element: what h() gave it last */

function isProps(value) {
	return value !== null && typeof value === "object" && !Array.isArray(value) && !value.tag;
}

/**
 * h() - one element
 * @name: its tag, with classes that it always has: "p.quiet"
 * @content: first, when there are any, its attributes in an object; among them `key` (what it is told by
 *	among its siblings), `style` (properties) and on<event> (functions). Then children: of h(), text,
 *	numbers, lists of these; null and false are nothing.
 */
export function h(name, ...content) {
	const [tag, ...classes] = name.split(".");
	const props = isProps(content[0]) ? { ...content.shift() } : {};

	if (classes.length > 0)
		props.class = [...classes, props.class].filter(Boolean).join(" ");
	return { tag, props, children: content.flat(Infinity).filter((c) => c != null && c !== false) };
}

function setProp(el, name, value, old) {
	if (name.startsWith("on")) {
		el[name] = value ?? null;
	} else if (name === "style") {
		for (const [property, v] of Object.entries(value ?? {}))
			if (old?.[property] !== v)
				el.style.setProperty(property, v);
	} else if (name === "value") {
		if (document.activeElement !== el)
			el.value = value;
	} else if (name === "selected" || name === "checked") {
		el[name] = Boolean(value);
	} else if (value == null || value === false) {
		el.removeAttribute(name);
	} else if (el.getAttribute(name) !== String(value)) {
		el.setAttribute(name, value === true ? "" : value);
	}
}

function update(el, v) {
	const before = known.get(el)?.props ?? {};

	known.set(el, v);
	for (const name of Object.keys(before))
		if (!(name in v.props))
			setProp(el, name, null);
	for (const [name, value] of Object.entries(v.props))
		if (name !== "key")
			setProp(el, name, value, before[name]);
	patchChildren(el, v.children);
}

function make(v) {
	const el = document.createElement(v.tag);

	update(el, v);
	return el;
}

const keyOf = (node) => known.get(node)?.props.key;

/* What comes next in the document, or what has @v's key; undefined when it has to be made. */
function findFor(v, at, keyed) {
	if (v.props.key !== undefined) {
		const found = keyed.get(v.props.key);
		keyed.delete(v.props.key); /* who comes with the same key again is another one */
		return found?.localName === v.tag ? found : undefined;
	}
	if (at?.nodeType === Node.ELEMENT_NODE && at.localName === v.tag && keyOf(at) === undefined)
		return at;
	return undefined;
}

function placeText(parent, at, text) {
	if (at?.nodeType !== Node.TEXT_NODE)
		return parent.insertBefore(document.createTextNode(text), at);
	if (at.nodeValue !== text)
		at.nodeValue = text;
	return at;
}

function patchChildren(parent, children) {
	const wanted = new Set(children.map((v) => v.props?.key));
	const keyed = new Map();
	let at;

	/* What goes makes room first, so that the rest need not be moved. */
	for (const node of [...parent.childNodes]) {
		const key = keyOf(node);
		if (key !== undefined && !wanted.has(key))
			node.remove();
		else if (key !== undefined)
			keyed.set(key, node);
	}
	at = parent.firstChild;
	for (const v of children) {
		if (!v.tag) {
			at = placeText(parent, at, String(v)).nextSibling;
			continue;
		}
		const found = findFor(v, at, keyed);
		const node = found ?? make(v);
		if (found)
			update(found, v);
		if (node === at)
			at = at.nextSibling;
		else
			parent.insertBefore(node, at);
	}
	while (at) {
		const next = at.nextSibling;
		at.remove();
		at = next;
	}
}

/* Makes the content of @parent like @children. */
export function patch(parent, ...children) {
	const focused = document.activeElement;

	patchChildren(parent, h("main", children).children);
	/* An element that was moved has lost the focus on its way. */
	if (focused !== document.activeElement && focused?.isConnected && focused !== document.body)
		focused.focus({ preventScroll: true });
}

/* Characters that would hide or turn round what stands beside them, made visible. */
export function visible(text) {
	return String(text).replace(
		/[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
		(c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

/* A stranger's word: with a direction of its own. */
export function word(text) {
	return h("bdi", visible(text));
}
