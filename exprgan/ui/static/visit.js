// What was done in this visit, in the memory of this page alone: undo and redo, thumbnails to go back to, links, sharing.

const NAMES = ['expression', 'intensity', 'second', 'part', 'style', 'fidelity', 'face', 'scope', 'others', 'units'];
const DEFAULTS = {intensity: 1, second: '', part: 0.5, style: 0, fidelity: 'detail', scope: 'one', others: {}, units: {}};
// `photo`: the path of the one that is shown, "example", or "" where none could be read; null before the first result.
const visit = {photo: null, steps: [], at: -1, thumbnails: [], current: null, next: null, open: null, timer: null, start: null};
const MAX_THUMBNAILS = 24;

exprgan.choosers = {};
exprgan.expression = () => visit.current?.settings?.expression;
exprgan.units = () => visit.current?.settings?.units ?? {};
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const ask = (button, change) => {
  visit.next = change;
  document.querySelector(`#edit-${button}`)?.click();
};
// The hidden buttons' scripts get the values of all controls, in the order of NAMES, and return what they become.
exprgan.changed = values => {
  const settings = Object.fromEntries(NAMES.map((name, i) => [name, values[i]]));
  const changed = {...settings, ...visit.next?.(settings)};
  visit.next = null;
  exprgan.remember(changed);
  return NAMES.map(name => changed[name]);
};
exprgan.chooseExpression = name => {
  exprgan.choosers.chooseExpression?.(name);
  ask('change', now => ({expression: name, intensity: now.intensity || 1, second: ''}));
};
exprgan.chooseFace = number => {
  exprgan.choosers.chooseFace?.(number);
  ask('choose', now => {
    if (now.scope !== 'each') return {face: number, others: {}};
    if (number === now.face) return {};
    const own = ({expression, intensity, second, part, style, fidelity, units}) => ({expression, intensity, second, part, style, fidelity, units});
    const {[number]: chosen, ...others} = now.others ?? {};
    return {...(chosen ?? own(now)), face: number, others: {...others, [now.face]: own(now)}};
  });
};
exprgan.setUnits = units => ask('change', () => ({units}));
exprgan.useLook = settings => ask('change', () => settings);
// A look from a file goes to the server as text, which answers with the settings or with what is wrong.
exprgan.openLook = async file => {
  visit.look = file.size > 20000 ? 'x'.repeat(20000) : await file.text();
  document.querySelector('#edit-look')?.click();
};
exprgan.lookText = () => visit.look ?? '';
exprgan.clear = name => ask('change', () => name === 'scope' ? {scope: 'one', others: {}} : {[name]: DEFAULTS[name]});
exprgan.step = by => {
  const settings = visit.steps[visit.at + by];
  if (!settings) return;
  visit.at += by;
  ask(settings.face === visit.current?.settings.face ? 'change' : 'choose', () => settings);
};
exprgan.reset = () => visit.start && ask(visit.start.face === visit.current?.settings.face ? 'change' : 'choose', () => visit.start);

// A new photo keeps expression and intensity; all else belongs to the photo before. A photo that is opened again brings its own.
exprgan.photoRead = values => {
  const now = Object.fromEntries(NAMES.map((name, i) => [name, values[i]]));
  const opened = visit.open;
  Object.assign(visit, {open: null, isForgetting: false});
  const settings = {...now, ...DEFAULTS, intensity: now.intensity || 1, ...opened};
  if (!settings.face) settings.face = now.face;
  document.querySelector('.block.strip')?.classList.add('stale'); // until its pictures are of this photo
  exprgan.remember(settings);
  exprgan.choosers.setUnits?.(settings.units, true);
  return NAMES.map(name => settings[name]);
};
exprgan.photoFailed = () => Object.assign(visit, {open: null, photo: '', isForgetting: false});
// The dials go back to what the result shows.
exprgan.editFailed = () => {
  exprgan.choosers.setUnits?.(exprgan.units(), true);
  return [exprgan.units()];
};
exprgan.reopened = () => visit.file;
// The page forgets all photos. A result that was asked for before may still arrive, until the empty photo has been read.
exprgan.forgetVisit = () => {
  clearTimeout(visit.timer);
  const empty = {photo: '', steps: [], at: -1, thumbnails: [], current: null, open: null, start: null, file: null};
  Object.assign(visit, empty, {isForgetting: true});
  drawVisit();
  steps();
};
// Photo, result, strip and faces; an example stays.
exprgan.forgotten = ([result, strip]) => [null, ...(result && !result.photo ? [result, strip] : [null, {tiles: []}]), {tiles: []}];
exprgan.openWith = settings => { visit.open = settings; };

exprgan.shown = (state, picture, viewer) => {
  if (visit.isForgetting && state?.photo) return;
  visit.current = state;
  visit.viewer = viewer;
  const key = state && (state.photo?.path ?? 'example');
  if (state && key !== visit.photo) {
    if (visit.photo !== null || state.photo) exprgan.photoShown(state.photo, () => visit.photo === key);
    Object.assign(visit, {photo: key, steps: [], at: -1, start: null});
  }
  if (state?.settings) {
    if (state.photo) exprgan.remember(state.settings);
    visit.start ??= {...state.settings, ...DEFAULTS};
    if (!same(visit.steps[visit.at], state.settings)) {
      clearTimeout(visit.timer);
      visit.timer = setTimeout(() => settle(state, picture), 700); // a moving slider counts once
    }
    exprgan.choosers.chooseExpression?.(state.settings.expression);
    exprgan.choosers.chooseFace?.(state.face);
    exprgan.choosers.setUnits?.(state.settings.units ?? {});
    const intensity = document.querySelector('.choice .intensity');
    intensity?.classList.toggle('without-effect', state.settings.expression === 'neutral' && !state.settings.second);
  }
  steps();
  markShown();
};
const settle = (state, picture) => {
  if (visit.current !== state) return;
  if (!same(visit.steps[visit.at], state.settings)) {
    visit.steps = [...visit.steps.slice(0, visit.at + 1), state.settings].slice(-100);
    visit.at = visit.steps.length - 1;
  }
  steps();
  if (state.photo) thumbnail(state, picture);
};
const steps = () => {
  const button = name => visit.viewer?.querySelector(`.${name}`) ?? {};
  button('undo').disabled = visit.at < 1;
  button('redo').disabled = visit.at >= visit.steps.length - 1;
  button('reset').disabled = !visit.start || same(visit.start, visit.current?.settings);
};
const thumbnail = async (state, picture) => {
  await picture.decode().catch(() => {});
  if (!picture.naturalWidth || visit.current !== state) return;
  const [x0, y0, x1, y1] = state.boxes[state.face - 1] ?? [0, 0, 1, 1], [w, h] = [picture.naturalWidth, picture.naturalHeight];
  const side = Math.min(1.4 * Math.max((x1 - x0) * w, (y1 - y0) * h), w, h);
  const left = Math.min(Math.max((x0 + x1) / 2 * w - side / 2, 0), w - side), top = Math.min(Math.max((y0 + y1) / 2 * h - side / 2, 0), h - side);
  const canvas = Object.assign(document.createElement('canvas'), {width: 96, height: 96});
  canvas.getContext('2d').drawImage(picture, left, top, side, side, 0, 0, 96, 96);
  const url = canvas.toDataURL('image/jpeg', 0.85);
  const known = visit.thumbnails.find(other => other.state.photo.path === state.photo.path && same(other.state.settings, state.settings));
  const entry = known ?? {state, url, button: thumbnailButton(state, url)};
  visit.thumbnails = [entry, ...visit.thumbnails.filter(other => other !== entry)].slice(0, MAX_THUMBNAILS);
  drawVisit();
};
const thumbnailButton = (state, url) => {
  const button = document.createElement('button'), picture = Object.assign(new Image(), {src: url, alt: ''});
  const label = Object.assign(document.createElement('span'), {textContent: state.title});
  Object.assign(button, {type: 'button', title: state.title}); // the label is cut after two lines
  button.append(picture, label);
  button.addEventListener('click', () => goBack(state));
  return button;
};
const drawVisit = () => {
  const place = document.querySelector('.visit'), focused = document.activeElement;
  if (!place) return;
  const row = document.createElement('div'), heading = Object.assign(document.createElement('p'), {className: 'heading'});
  heading.textContent = 'In this visit';
  row.className = 'tiles';
  row.setAttribute('role', 'group');
  row.setAttribute('aria-label', 'Results of this visit');
  row.append(...visit.thumbnails.map(({button}) => button));
  place.replaceChildren(heading, row);
  place.hidden = !visit.thumbnails.length;
  if (row.contains(focused)) focused.focus({preventScroll: true}); // a button that moves loses the keyboard's focus
  markShown();
};
const markShown = () => document.querySelectorAll('.visit button').forEach((button, i) => {
  const {state} = visit.thumbnails[i];
  button.setAttribute('aria-pressed', same(state.settings, visit.current?.settings) && state.photo.path === visit.photo);
});
const goBack = state => {
  if (state.photo.path === visit.photo) {
    ask(state.settings.face === visit.current?.settings.face ? 'change' : 'choose', () => state.settings);
  } else {
    visit.open = state.settings;
    visit.file = {...state.photo, meta: {_type: 'gradio.FileData'}};
    document.querySelector('#edit-reopen')?.click();
  }
};

// Transfer.
exprgan.chooseTransferFace = number => { visit.transfer = [number, null]; document.querySelector('#transfer-change')?.click(); };
exprgan.chooseSourceFace = number => { visit.transfer = [null, number]; document.querySelector('#transfer-change')?.click(); };
exprgan.transferChanged = ([face, source]) => [visit.transfer?.[0] ?? face, visit.transfer?.[1] ?? source];

// Sharing, where the browser offers it: the picture that is shown, at most 1,024 px.
exprgan.offerSharing = button => {
  const example = new File([''], 'a.jpg', {type: 'image/jpeg'});
  if (button.dataset.ready || !navigator.canShare?.({files: [example]})) return;
  button.dataset.ready = button.hidden = '';
  button.removeAttribute('hidden');
  button.addEventListener('click', async () => {
    if (!visit.current) return;
    const picture = await (await fetch(visit.current.after.url)).blob();
    const file = new File([picture], `${visit.current.name}.jpg`, {type: picture.type});
    await navigator.share({files: [file]}).catch(() => {}); // closed without sharing
  });
};
// The link is shown in the address bar as well, in case the browser does not let a page write to the clipboard.
window.copyLink = (tab, names, values) => {
  const url = new URL(window.location.href.split(/[?#]/)[0]);
  url.searchParams.set('tab', tab);
  names.forEach((name, i) => {
    const value = values[i], units = value && typeof value === 'object' ? Object.entries(value).map(pair => pair.join(':')) : null;
    if (units?.length !== 0) url.searchParams.set(name, units?.join(',') ?? value ?? '');
  });
  window.history.replaceState(null, '', url);
  navigator.clipboard?.writeText(String(url)).catch(() => {});
};
exprgan.opened = tab => {
  const url = new URL(window.location.href.split(/[?#]/)[0]), now = new URLSearchParams(window.location.search).get('tab') ?? 'Edit';
  if (now === tab) return;
  if (tab !== 'Edit') url.searchParams.set('tab', tab);
  window.history.pushState(null, '', url);
};
window.addEventListener('popstate', () => {
  const tab = new URLSearchParams(window.location.search).get('tab') ?? 'Edit';
  [...document.querySelectorAll('[role=tab]')].find(element => element.textContent.trim() === tab)?.click();
});
