"""Checks a page for accessibility: the main rules of WCAG 2.2 A and AA, for readers with low vision and without a mouse.

Names and roles are those of Chromium's accessibility tree, which screen readers use.
"""

from itertools import pairwise

ROLES_WITH_NAME = {
    *("button", "link", "slider", "radio", "checkbox", "textbox", "searchbox", "combobox", "listbox", "option", "tab"),
    *("menuitem", "image", "img", "spinbutton", "switch", "radiogroup", "dialog", "progressbar"),
}
"""Roles that need a name (4.1.2, 1.1.1)."""

PAGE_CHECKS_JS = """() => {
  const found = [], canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = color => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
                          return [...canvas.getImageData(0, 0, 1, 1).data].map((v, i) => i < 3 ? v : v / 255); };
  const over = (top, below) => below.map((v, i) => i < 3 ? top[i] * top[3] + v * (1 - top[3]) : 1);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                                        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const name = e => e.tagName.toLowerCase() + (e.className?.trim ? '.' + e.className.trim().split(/\\s+/)[0] : '');
  const background = e => {
    const layers = [];
    for (; e; e = e.parentElement) {
      const style = getComputedStyle(e);
      if (style.backgroundImage !== 'none') return null;
      layers.push(rgba(style.backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {  // 1.4.3
    const e = texts.currentNode.parentElement, text = texts.currentNode.data.trim();
    if (!text || !e.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    if (e.closest(':disabled, script, style') || e.getBoundingClientRect().width < 2) continue;
    const style = getComputedStyle(e), below = background(e);
    if (!below) continue;
    const [a, b] = [light(over(rgba(style.color), below)), light(below)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    const least = large || !/[\\p{L}\\p{N}]/u.test(text) ? 3 : 4.5;  // a symbol is a graphic
    if (ratio < least) found.push(`contrast ${ratio.toFixed(2)}: ${name(e)} ${text.slice(0, 40)}`);
  }
  const ids = [...document.querySelectorAll('[id]')].filter(e => e.id && !e.closest('svg')).map(e => e.id);
  found.push(...new Set(ids.filter((id, i) => ids.indexOf(id) !== i).map(id => `id twice: ${id}`)));
  for (const e of document.querySelectorAll('[tabindex]')) if (e.tabIndex > 0) found.push(`positive tabindex: ${name(e)}`);
  for (const e of document.querySelectorAll('[aria-hidden=true] :is(button, input, a[href], [tabindex="0"])'))
    if (e.tabIndex >= 0 && e.checkVisibility({visibilityProperty: true}))
      found.push(`hidden from readers, but takes the focus: ${name(e)}`);
  for (const e of document.querySelectorAll('img:not([alt])')) if (e.checkVisibility())
    found.push(`img without alt: ${e.src}`);
  if (!document.documentElement.lang) found.push('the page declares no language');
  if (!document.title) found.push('the page has no title');
  return found;
}"""

FOCUS_JS = """() => {
  const e = document.activeElement;
  if (!e || e === document.body) return null;
  window.passed ??= [];
  const again = window.passed.includes(e), last = window.passed.at(-1);
  const back = last && !(last.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING);
  window.passed.push(e);
  const style = () => { const values = []; for (let i = 0, at = e; i < 4 && at; i++, at = at.parentElement) {
    const s = getComputedStyle(at); values.push(s.outline, s.boxShadow, s.borderColor, s.backgroundColor); }
    return values.join(); };
  const focused = style();
  e.blur(); const blurred = style(); e.focus();
  const box = (e.closest('label') ?? e).getBoundingClientRect();
  return {html: e.outerHTML.slice(0, 200), again, back: Boolean(back), visible: focused !== blurred,
          large: box.width * box.height > 16};
}"""


def problems(page) -> list[str]:
    """All violations of a page, in words."""
    return [*_tree_problems(page), *page.evaluate(PAGE_CHECKS_JS)]


def _tree_problems(page) -> list[str]:
    """Missing names and misplaced headings in the accessibility tree."""
    devtools, found, levels = page.context.new_cdp_session(page), [], []
    for node in devtools.send("Accessibility.getFullAXTree")["nodes"]:
        role, name = node.get("role", {}).get("value", ""), node.get("name", {}).get("value", "").strip()
        if node.get("ignored"):
            continue
        if role == "heading":
            levels += [(entry["value"]["value"], name) for entry in node["properties"] if entry["name"] == "level"]
        if role in ROLES_WITH_NAME and not name:
            handle = devtools.send("DOM.resolveNode", {"backendNodeId": node["backendDOMNodeId"]})["object"]["objectId"]
            js = "function() { return this.outerHTML?.slice(0, 160) }"
            html = devtools.send(
                "Runtime.callFunctionOn", {"objectId": handle, "functionDeclaration": js, "returnByValue": True}
            )
            if not (html["result"].get("value") or "").startswith("<svg"):  # decorative: no image role
                found.append(f"{role} without a name: {html['result']['value']}")
    devtools.detach()
    if [level for level, _ in levels].count(1) != 1:
        found.append(f"not exactly one first-level heading: {levels}")
    found += [f"heading {name!r} skips a level" for (above, _), (level, name) in pairwise(levels)
              if level > above + 1]  # fmt: skip
    return found


def walk(page, max_stops: int = 200) -> tuple[list[str], list[str]]:
    """Moves the focus through the page with Tab; returns the HTML of the focused elements, and the violations."""
    page.evaluate("() => { window.passed = []; document.activeElement?.blur(); window.scrollTo(0, 0) }")
    stops, found = [], []
    for _ in range(max_stops):
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUS_JS)
        if stop is None or stop["again"]:
            return stops, found
        stops.append(stop["html"])
        checks = {"out of order": stop["back"], "focus is not visible": not stop["visible"],
                  "takes the focus, but has no size": not stop["large"]}  # fmt: skip
        found += [f"{violation}: {stop['html']}" for violation, applies in checks.items() if applies]
    return stops, [*found, "the focus never comes to an end"]
