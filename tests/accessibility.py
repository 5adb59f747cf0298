"""What is wrong with a page for those who do not see it well or use no mouse: the main rules of WCAG 2.2 A and AA.

The names and roles are those that Chromium hands to a screen reader.
"""

from itertools import pairwise

NAMED = {
    *("button", "link", "slider", "radio", "checkbox", "textbox", "searchbox", "combobox", "listbox", "option", "tab"),
    *("menuitem", "image", "img", "spinbutton", "switch", "radiogroup", "dialog", "progressbar"),
}
"""Roles that say nothing without a name (4.1.2, 1.1.1)."""

LOOK = """() => {
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
    const least = large || !/[\\p{L}\\p{N}]/u.test(text) ? 3 : 4.5;  // a sign is a drawing
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
  if (!document.documentElement.lang) found.push('the page says no language');
  if (!document.title) found.push('the page has no title');
  return found;
}"""

FOCUSED = """() => {
  const e = document.activeElement;
  if (!e || e === document.body) return null;
  window.passed ??= [];
  const again = window.passed.includes(e), last = window.passed.at(-1);
  const back = last && !(last.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING);
  window.passed.push(e);
  const look = () => { const seen = []; for (let i = 0, at = e; i < 4 && at; i++, at = at.parentElement) {
    const s = getComputedStyle(at); seen.push(s.outline, s.boxShadow, s.borderColor, s.backgroundColor); }
    return seen.join(); };
  const focused = look();
  e.blur(); const without = look(); e.focus();
  const box = (e.closest('label') ?? e).getBoundingClientRect();
  return {what: e.outerHTML.slice(0, 200), again, back: Boolean(back), seen: focused !== without,
          large: box.width * box.height > 16};
}"""


def problems(page) -> list[str]:
    """Every fault that is found, in words; empty if there is none."""
    return [*_nameless(page), *page.evaluate(LOOK)]


def _nameless(page) -> list[str]:
    tools, found, levels = page.context.new_cdp_session(page), [], []
    for node in tools.send("Accessibility.getFullAXTree")["nodes"]:
        role, name = node.get("role", {}).get("value", ""), node.get("name", {}).get("value", "").strip()
        if node.get("ignored"):
            continue
        if role == "heading":
            levels += [(one["value"]["value"], name) for one in node["properties"] if one["name"] == "level"]
        if role in NAMED and not name:
            handle = tools.send("DOM.resolveNode", {"backendNodeId": node["backendDOMNodeId"]})["object"]["objectId"]
            js = "function() { return this.outerHTML?.slice(0, 160) }"
            html = tools.send(
                "Runtime.callFunctionOn", {"objectId": handle, "functionDeclaration": js, "returnByValue": True}
            )
            if not (html["result"].get("value") or "").startswith("<svg"):  # a drawing that no role makes a picture
                found.append(f"{role} without a name: {html['result']['value']}")
    tools.detach()
    if [level for level, _ in levels].count(1) != 1:
        found.append(f"not one first heading: {levels}")
    found += [f"heading {name!r} skips a level" for (above, _), (level, name) in pairwise(levels)
              if level > above + 1]  # fmt: skip
    return found


def walk(page, most: int = 200) -> tuple[list[str], list[str]]:
    """Tabs through the page from its start; returns what took the focus, and what was wrong on the way."""
    page.evaluate("() => { window.passed = []; document.activeElement?.blur(); window.scrollTo(0, 0) }")
    stops, found = [], []
    for _ in range(most):
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUSED)
        if stop is None or stop["again"]:
            return stops, found
        stops.append(stop["what"])
        found += [f"{fault}: {stop['what']}" for fault, there in
                  (("out of order", stop["back"]), ("focus cannot be seen", not stop["seen"]),
                   ("takes the focus, but is not on the page", not stop["large"])) if there]  # fmt: skip
    return stops, [*found, "the focus never comes to an end"]
