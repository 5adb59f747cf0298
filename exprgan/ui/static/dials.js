// Sliders that move parts of the face, both sides at once or each by itself, and looks.

exprgan.dials = (element, props, watch) => {
  const root = element.querySelector('.dials'), sliders = new Map();
  const make = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  let units = {}, separate = false, asked = null, timer = null;
  const rounded = value => Math.round(100 * value) / 100;
  const valueOf = (name, side) => units[side ? `${name}_${side}` : name] ?? (side ? units[name] : undefined) ?? 0;
  // Results of earlier positions arrive while a slider moves; they must not move it back.
  const send = () => {
    asked = JSON.stringify(units);
    clearTimeout(timer);
    timer = setTimeout(() => exprgan.setUnits({...units}), 60);
    show();
  };
  const move = (dial, side, value) => {
    const {name} = dial, next = {...units};
    if (side) {
      const other = side === 'left' ? 'right' : 'left', otherValue = valueOf(name, other);
      [name, `${name}_left`, `${name}_right`].forEach(key => delete next[key]);
      if (value === otherValue) next[name] = value;
      else Object.assign(next, {[`${name}_${side}`]: value, [`${name}_${other}`]: otherValue});
    } else {
      [`${name}_left`, `${name}_right`].forEach(key => delete next[key]);
      next[name] = value;
    }
    units = Object.fromEntries(Object.entries(next).filter(([, one]) => one !== 0));
    send();
  };
  const sides = make('input', {type: 'checkbox', className: 'each-side'});
  const reset = make('button', {type: 'button', className: 'reset-dials', textContent: 'Reset'});
  const rows = make('div', {className: 'dial-rows'}), looks = make('div', {className: 'looks', role: 'group'});
  looks.setAttribute('aria-label', 'Looks');
  const slider = (dial, side) => {
    const text = `${dial.label}${side ? `, ${side}` : ''}`;
    const input = make('input', {type: 'range', min: -1, max: 1, step: 0.05}), output = make('output');
    input.setAttribute('aria-label', text);
    input.addEventListener('input', () => move(dial, side, rounded(input.valueAsNumber)));
    input.addEventListener('dblclick', () => move(dial, side, 0));
    sliders.set(`${dial.name} ${side ?? ''}`, {input, output, dial, side});
    return make('label', {className: 'dial'}, make('span', {textContent: text}), input, output);
  };
  const draw = () => {
    const {dials = [], looks: choices = []} = props.value ?? {};
    sliders.clear();
    rows.replaceChildren(...dials.flatMap(dial => separate && dial.sided
      ? [slider(dial, 'left'), slider(dial, 'right')] : [slider(dial)]));
    looks.replaceChildren(...choices.map(look => {
      const button = make('button', {type: 'button', textContent: look.label});
      button.addEventListener('click', () => {
        asked = null;
        exprgan.useLook(look.settings);
      });
      return button;
    }));
    looks.hidden = !choices.length;
    show();
  };
  const show = () => {
    sliders.forEach(({input, output, dial, side}) => {
      const value = valueOf(dial.name, side);
      if (input.valueAsNumber !== value) input.value = value;
      output.textContent = `${Math.round(100 * value)}`;
    });
    reset.disabled = !Object.keys(units).length;
  };
  const hasSides = () => Object.keys(units).some(name => /_(left|right)$/.test(name));
  sides.addEventListener('change', () => {
    separate = sides.checked;
    if (!separate && hasSides()) {
      for (const {name, sided} of props.value.dials.filter(dial => dial.sided && (`${dial.name}_left` in units || `${dial.name}_right` in units))) {
        units[name] = rounded((valueOf(name, 'left') + valueOf(name, 'right')) / 2);
        if (sided) [`${name}_left`, `${name}_right`].forEach(key => delete units[key]);
      }
      send();
    }
    draw();
  });
  reset.addEventListener('click', () => { units = {}; send(); });
  exprgan.choosers.setUnits = (shown, isForced = false) => {
    if (!isForced && asked !== null && asked !== JSON.stringify(shown)) return;
    asked = null;
    units = {...shown};
    if (!separate && hasSides()) {
      separate = sides.checked = true;
      draw();
    } else show();
  };
  root.replaceChildren(
    looks,
    make('div', {className: 'dial-tools'}, make('label', {}, sides, ' Each side by itself (left and right are the person\'s own)'), reset),
    rows,
  );
  watch('value', draw);
  draw();
  exprgan.choosers.setUnits(exprgan.units()); // gradio may draw this when a result is shown already
};
document.addEventListener('change', event => {
  const input = event.target.matches?.('.open-look input[type=file]') ? event.target : null;
  if (input?.files[0]) exprgan.openLook(input.files[0]);
  if (input) input.value = '';
});
