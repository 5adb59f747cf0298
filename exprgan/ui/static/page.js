// What the page adds to gradio: components of its own (viewer.js, tiles.js, dials.js), and labels for screen readers.

const exprgan = window.exprgan = {};
exprgan.start = () => {
  while (window.exprganQueue?.length) {
    const [kind, ...parts] = window.exprganQueue.shift();
    exprgan[kind](...parts);
  }
};

// A new status is announced; pictures to choose, a video's progress bar and the drop area get names; an empty gallery loses its
// own. Repeated on every change, as gradio renders a tab when it is first opened.
const label = (element, text) => {
  if (text && element.getAttribute('aria-label') !== text) element.setAttribute('aria-label', text);
};
const update = () => {
  const all = selector => document.querySelectorAll(selector);
  all('.block.status:not([aria-live])').forEach(element => element.setAttribute('aria-live', 'polite'));
  all('.examples').forEach(group => group.querySelectorAll('button').forEach((element, i) => label(element, `Virtual person ${i + 1}`)));
  all('.player progress').forEach(element => label(element, 'Playback position'));
  all('button[aria-dropeffect]').forEach(element => label(element, element.textContent.replace(/\s+/g, ' ').trim()));
  all('.empty[aria-label]').forEach(element => element.removeAttribute('aria-label'));
  all('footer img[alt]:not([alt=""])').forEach(picture => picture.setAttribute('alt', '')); // beside the same word
  all('.thumbnail-item').forEach(element => {
    label(element, element.querySelector('.caption-label')?.innerText);
    element.querySelectorAll('img').forEach(picture => picture.alt && picture.setAttribute('alt', ''));
  });
  all('.share').forEach(exprgan.offerSharing);
};
queueMicrotask(() => {
  new MutationObserver(update).observe(document.body, {childList: true, subtree: true});
  update();
  exprgan.start();
  exprgan.restore();
});
