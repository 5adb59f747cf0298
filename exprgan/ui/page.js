() => {
  // Labels for screen readers: a new status is announced; pictures to choose, the video's progress bar and the drop area
  // get names; an empty gallery loses its own. Repeated on every change, as gradio renders a tab when it is first opened.
  const name = (element, label) => {
    if (label && element.getAttribute('aria-label') !== label) element.setAttribute('aria-label', label);
  };
  const text = element => element.textContent.replace(/\s+/g, ' ').trim();
  const update = () => {
    const all = selector => document.querySelectorAll(selector);
    all('.block.status:not([aria-live])').forEach(element => element.setAttribute('aria-live', 'polite'));
    all('#people button').forEach((element, i) => name(element, `Virtual person ${i + 1}`));
    all('.player progress').forEach(element => name(element, 'Playback position'));
    all('button[aria-dropeffect]').forEach(element => name(element, text(element)));
    all('.empty[aria-label]').forEach(element => element.removeAttribute('aria-label'));
    all('.thumbnail-item').forEach(element => name(element, element.querySelector('.caption-label')?.innerText));
  };
  new MutationObserver(update).observe(document.body, {childList: true, subtree: true});
  update();

  // The link is shown in the address bar as well, in case the browser does not let a page write to the clipboard.
  window.copyLink = (tab, names, values) => {
    const url = new URL(window.location.href.split(/[?#]/)[0]);
    url.searchParams.set('tab', tab);
    names.forEach((name, i) => url.searchParams.set(name, values[i]));
    window.history.replaceState(null, '', url);
    navigator.clipboard?.writeText(String(url)).catch(() => {});
  };
}
