'use strict';
// Text from the data may hold anything: it becomes text nodes and attributes, never HTML.

const root = document.documentElement;
const $ = (id) => document.getElementById(id);
const DISPLAY = { view: 'heat_map', sign: 'all', outlier: 2, weight: 0.7 };
const state = { sample: 0, target: null, layer: null, hidden: new Set(), theme: '', ...DISPLAY };
const opened = new Set();

let data;
let samples;
let palettes;
let targets;
let layers;
let cards;
// The row and column that every picture marks.
let at = null;

// Elements

function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

const text = (tag, content) => el(tag, { dir: 'auto' }, content);

const number = (value) => el('span', { className: 'number' }, shown(value));

/** Keeps text of another direction from reordering what surrounds it. */
const isolated = (content) => `\u2068${content}\u2069`;

function shown(value) {
  if (typeof value !== 'number') return '–';
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return String(value);
  if (size < 1e-3 || size >= 1e6) return value.toExponential(2);
  return size >= 1000 ? value.toFixed(0) : value.toPrecision(3);
}

/** Aligns as numbers: numbers, nulls, nodes of class number, and the head of a column of these. */
function table(head, rows, foot = []) {
  const align = (content) =>
    (typeof content === 'number' || content === null || content.className === 'number' ? 'number' : '');
  const cell = (content, i) => {
    const node = el(i ? 'td' : 'th', { dir: 'auto', className: align(content) });
    if (!i) node.scope = 'row';
    node.append(typeof content === 'string' || content instanceof Node ? content : shown(content));
    return node;
  };
  const lines = (list) => list.map((row) => el('tr', {}, ...row.map(cell)));
  const titles = head.map((title, i) =>
    el('th', { scope: 'col', dir: 'auto', className: align((rows[0] || head)[i]) }, title));
  return el('table', {},
    el('thead', {}, el('tr', {}, ...titles)), el('tbody', {}, ...lines(rows)), el('tfoot', {}, ...lines(foot)));
}

/** A bar from the left, or from the middle to either side. */
function bar(share, oneSided, colour) {
  const width = 100 * clamp(Math.abs(share), 0, 1) / (oneSided ? 1 : 2);
  const fill = el('div', { className: 'fill' });
  fill.style.width = `${width}%`;
  fill.style.left = `${oneSided ? 0 : share < 0 ? 50 - width : 50}%`;
  fill.style.background = colour;
  return el('div', { className: oneSided ? 'track' : 'track middle' }, fill);
}

// Numbers

const unique = (list) => [...new Set(list)];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const sum = (list) => list.reduce((total, value) => total + value, 0);

function bytes(base64) {
  const decoded = atob(base64);
  const out = new Uint8Array(decoded.length);
  for (let i = 0; i < out.length; i++) out[i] = decoded.charCodeAt(i);
  return out;
}

// Every platform with a browser is little-endian, as the data is.
const floats = (base64) => new Float32Array(bytes(base64).buffer);

/** Bilinear, with the centres of the outermost pixels half a pixel from the border. */
function resized(values, [height, width], toHeight, toWidth) {
  if (height === toHeight && width === toWidth) return values;
  const places = (from, to) => Array.from({ length: to }, (_, i) => {
    const place = clamp((i + 0.5) * from / to - 0.5, 0, from - 1);
    return [Math.floor(place), Math.min(Math.floor(place) + 1, from - 1), place % 1];
  });
  const columns = places(width, toWidth);
  const out = new Float32Array(toHeight * toWidth);
  places(height, toHeight).forEach(([top, bottom, down], y) => {
    columns.forEach(([left, right, along], x) => {
      const mix = (row) => values[row * width + left] * (1 - along) + values[row * width + right] * along;
      out[y * toWidth + x] = mix(top) * (1 - down) + mix(bottom) * down;
    });
  });
  return out;
}

const KEEP = {
  all: (v) => v,
  positive: (v) => Math.max(v, 0),
  negative: (v) => Math.max(-v, 0),
  absolute_value: Math.abs,
};

/** The normalisation of Captum's visualize_image_attr. What does not depend on the outliers is kept. */
function normalized(numbers) {
  const { sign, outlier } = state;
  if (!numbers.kept[sign]) {
    const values = numbers.values.map(KEEP[sign]);
    numbers.kept[sign] = { values, sorted: values.map(Math.abs).sort() };
  }
  const { values, sorted } = numbers.kept[sign];
  const limit = sum(sorted) * (100 - outlier) / 100;
  let total = 0;
  // Rounding may put the limit just above the sum of all.
  const threshold = sorted.find((magnitude) => (total += magnitude) >= limit) ?? sorted[sorted.length - 1];
  return { values, threshold, share: (i) => (threshold ? clamp(values[i] / threshold, -1, 1) : 0) };
}

// Colours

const rgb = (colours, place) => `rgb(${colours.slice(place, place + 3).join(', ')})`;

const palette = () => (state.sign === 'all' ? palettes.signed : palettes.unsigned);

/** Where the palette holds the colour of a normalised value. */
const offset = (share) => 3 * Math.round(state.sign === 'all' ? (share + 1) * 127.5 : share * 255);

/** Black or white, whichever contrasts more by WCAG's relative luminance. */
function inkOn(colours, place) {
  const [r, g, b] = Array.from(colours.slice(place, place + 3), (level) =>
    (level <= 10 ? level / 3294.6 : ((level / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? '#000' : '#fff';
}

/** The colour of a bar must be seen on a light and a dark page: not an end, not the middle. */
const barColour = (value, sign) =>
  (sign === 'all' ? rgb(palettes.signed, 3 * (value < 0 ? 46 : 209)) : rgb(palettes.unsigned, 3 * 160));

// Pictures: a node; draw() follows the display settings; mark() follows the place looked at; size in
// rows and columns; locate() finds the place under the pointer. Bars have no places to look at.

/** An image without numbers is the input itself. */
function imagePicture({ width, height }, numbers, original) {
  const canvas = el('canvas', { width, height, className: width < 128 ? 'crisp' : '' });
  const cross = el('div', { className: 'cross' });
  const node = el('div', { className: 'picture' }, canvas, cross);
  node.style.maxWidth = `${24 * width / height}rem`;
  const context = canvas.getContext('2d', { willReadFrequently: true });

  const draw = () => {
    const view = !numbers ? 'original_image' : original ? state.view : 'heat_map';
    const share = numbers ? normalized(numbers).share : () => 0;
    const [colours, weight] = [palette(), state.weight];
    const image = context.createImageData(width, height);
    const out = image.data.fill(255);
    for (let i = 0, p = 0; i < width * height; i++, p += 4) {
      const value = share(i);
      const colour = offset(value);
      const grey = original ? Math.floor((original[p] + original[p + 1] + original[p + 2]) / 3) : 0;
      for (let k = 0; k < 3; k++) {
        if (view === 'heat_map') out[p + k] = colours[colour + k];
        else if (view === 'original_image') out[p + k] = original[p + k];
        else if (view === 'masked_image') out[p + k] = original[p + k] * Math.abs(value);
        else out[p + k] = grey * (1 - weight) + colours[colour + k] * weight;
      }
    }
    context.putImageData(image, 0, 0);
  };
  const mark = () => {
    cross.hidden = !at;
    if (!at) return;
    cross.style.top = `${100 * (at[0] + 0.5) / height}%`;
    cross.style.left = `${100 * (at[1] + 0.5) / width}%`;
  };
  const locate = ({ clientX, clientY }) => {
    const box = canvas.getBoundingClientRect();
    const cell = (place, length, count) => clamp(Math.floor(place / length * count), 0, count - 1);
    return [cell(clientY - box.top, box.height, height), cell(clientX - box.left, box.width, width)];
  };
  return { node, draw, mark, locate, size: [height, width] };
}

function textPicture({ tokens }, numbers) {
  const marks = tokens.map((token) => el('bdi', { className: 'token' }, token));
  const node = el('div', { className: 'picture words', dir: 'auto' }, ...marks.flatMap((token) => [token, ' ']));

  const draw = () => {
    const { share } = normalized(numbers);
    marks.forEach((token, i) => {
      token.style.background = rgb(palette(), offset(share(i)));
      token.style.color = inkOn(palette(), offset(share(i)));
    });
  };
  const mark = () => {
    node.querySelectorAll('.at').forEach((token) => token.classList.remove('at'));
    const token = at && marks[at[1]];
    if (!token) return;
    token.classList.add('at');
    const above = token.offsetTop - node.scrollTop;
    const isSeen = above >= 0 && above + token.offsetHeight <= node.clientHeight;
    if (!isSeen) node.scrollTop = token.offsetTop - node.clientHeight / 2;
  };
  const locate = ({ target }) => (marks.includes(target) ? [0, marks.indexOf(target)] : null);
  return { node, draw, mark, locate, size: [1, tokens.length] };
}

function seriesPicture(input, numbers) {
  const [width, height] = [1200, 144];
  const steps = numbers.shape[1];
  const channels = input.channels.map(({ name, values }) => {
    const levels = floats(values);
    const low = levels.reduce((a, b) => Math.min(a, b));
    const high = levels.reduce((a, b) => Math.max(a, b));
    const canvas = el('canvas', { width, height });
    const step = el('div', { className: 'step' });
    const strip = el('div', { className: 'strip' }, canvas, step);
    const range = el('span', { className: 'quiet' }, `${shown(low)} to ${shown(high)}`);
    const head = el('div', { className: 'channel' }, text('span', name), range);
    return { levels, low, span: high - low || 1, canvas, step, strip, head };
  });
  const node = el('div', { className: 'picture' }, ...channels.flatMap(({ head, strip }) => [head, strip]));

  const draw = () => {
    const { share } = normalized(numbers);
    channels.forEach(({ levels, low, span, canvas }, channel) => {
      const context = canvas.getContext('2d', { willReadFrequently: true });
      for (let x = 0; x < width; x++) {
        // Of several steps in one column of pixels, the strongest shows.
        const first = Math.floor(x * steps / width);
        let value = 0;
        for (let i = first; i <= Math.max(first, (x + 1) * steps / width - 1); i++) {
          const own = share(channel * steps + i);
          if (Math.abs(own) > Math.abs(value)) value = own;
        }
        context.fillStyle = rgb(palette(), offset(value));
        context.fillRect(x, 0, 1, height);
      }
      const path = new Path2D();
      levels.forEach((level, i) =>
        path.lineTo((i + 0.5) * width / steps, height * (0.93 - 0.86 * (level - low) / span)));
      for (const [style, thickness] of [['#fff', 8], ['#000', 3]]) {
        Object.assign(context, { strokeStyle: style, lineWidth: thickness, lineJoin: 'round' });
        context.stroke(path);
      }
    });
  };
  const mark = () => channels.forEach(({ step }, channel) => {
    step.hidden = !at;
    if (!at) return;
    step.classList.toggle('own', at[0] === channel);
    step.style.left = `${100 * (at[1] + 0.5) / steps}%`;
  });
  const locate = ({ target, clientX }) => {
    const channel = channels.findIndex(({ strip }) => strip.contains(target));
    if (channel < 0) return null;
    const box = channels[channel].strip.getBoundingClientRect();
    return [channel, clamp(Math.floor((clientX - box.left) / box.width * steps), 0, steps - 1)];
  };
  return { node, draw, mark, locate, size: [channels.length, steps] };
}

function barsPicture(name, numbers) {
  const most = 20;
  let all = false;
  const node = el('div', { className: 'bars' });

  const draw = () => {
    const { values } = normalized(numbers);
    const order = [...values.keys()].sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]));
    const largest = Math.abs(values[order[0]]) || 1;
    node.replaceChildren(table(['Feature', '', 'Value'], order.slice(0, all ? order.length : most).map((i) =>
      [name(i), bar(values[i] / largest, state.sign !== 'all', barColour(values[i], state.sign)), values[i]])));
    if (order.length <= most) return;
    const onclick = () => {
      all = !all;
      draw();
      node.lastChild.focus();
    };
    const title = all ? `Show the first ${most}` : `Show all ${order.length}`;
    node.append(el('button', { type: 'button', onclick }, title));
  };
  return { node, draw, mark: () => {}, size: [1, numbers.values.length] };
}

const feature = ({ features }, i) => `${isolated(features[i].name)} = ${isolated(features[i].value)}`;

const KINDS = {
  image: {
    fits: (input, shape) => shape.length === 2,
    picture: imagePicture,
    place: (input, row, column) => `x ${column}, y ${row}`,
  },
  text: {
    fits: (input, shape) => shape.length === 1 && shape[0] === input.tokens.length,
    picture: textPicture,
    place: (input, row, column) => `${isolated(input.tokens[column])} (token ${column + 1})`,
  },
  series: {
    fits: ({ channels }, shape) => shape[0] === channels.length && shape[1] === floats(channels[0].values).length,
    picture: seriesPicture,
    place: (input, row, column) => `${isolated(input.channels[row].name)}, step ${column}`,
  },
  table: {
    fits: (input, shape) => shape.length === 1 && shape[0] === input.features.length,
    picture: (input, numbers) => barsPicture((i) => feature(input, i), numbers),
    place: (input, row, column) => feature(input, column),
  },
  // Numbers that are not laid out as the input, such as those of a layer.
  other: {
    picture: (input, numbers) => barsPicture((i) => `Element ${i}`, numbers),
    place: (input, row, column) => `Element ${column}`,
  },
};

// Cards

function colourBar() {
  const gradient = el('div', { className: 'gradient' });
  const ticks = el('div', { className: 'ticks' });
  const unit = el('p', { className: 'quiet' });
  const draw = (threshold, masked) => {
    const stops = Array.from({ length: 18 }, (_, i) => rgb(palette(), 45 * i));
    gradient.style.background = `linear-gradient(to right, ${masked ? '#000, #fff' : stops})`;
    const steps = state.sign === 'all' && !masked ? ['-1', '-0.5', '0', '0.5', '1'] : ['0', '0.5', '1'];
    ticks.replaceChildren(...steps.map((step) => text('span', step)));
    unit.textContent = threshold ? `1 stands for ${shown(threshold)}` : 'Nothing to show';
  };
  return { node: el('div', { className: 'scale' }, gradient, ticks, unit), draw };
}

function strongest({ method }, place, numbers, [height, width]) {
  const list = el('ol');
  const title = el('summary', {}, 'Strongest');
  const node = el('details', { className: 'strongest', open: opened.has(method) }, title, list);
  const [rows, columns] = height > 1 ? numbers.shape : [1, numbers.raw.length];
  const draw = () => {
    if (!node.open) return;
    const sizes = numbers.raw.map((v) => Math.abs(KEEP[state.sign](v)));
    const least = sizes.slice().sort()[Math.max(sizes.length - 5, 0)];
    const top = [...sizes.keys()].filter((i) => sizes[i] > 0 && sizes[i] >= least);
    top.sort((a, b) => sizes[b] - sizes[a]);
    // A map may be smaller than its image: the middle of the cell stands for it.
    const middle = (cell, from, to) => Math.floor((cell + 0.5) * to / from);
    list.replaceChildren(...top.slice(0, 5).map((i) => el('li', {},
      text('span', place(middle(Math.floor(i / columns), rows, height), middle(i % columns, columns, width))),
      number(numbers.raw[i]))));
  };
  node.addEventListener('toggle', () => {
    opened[node.open ? 'add' : 'delete'](method);
    draw();
  });
  return { node, draw };
}

function facts({ delta, seconds, evaluations, regions }, total) {
  // The value of a region stands at each of its pixels: adding them up means nothing.
  const sum = regions ? null : total;
  const entries = { Sum: sum, 'Convergence delta': delta, Time: seconds, Evaluations: evaluations };
  const known = Object.entries(entries).filter(([, value]) => typeof value === 'number');
  return el('dl', {}, ...known.map(([name, value]) =>
    el('div', {}, el('dt', {}, name), el('dd', {}, shown(value) + (name === 'Time' ? ' s' : '')))));
}

function referenceSamples({ method, references }) {
  const pictures = data.references[references];
  if (!pictures || !pictures.length) return null;
  const images = pictures.map((src, i) => el('img', { src, alt: `Reference sample ${i + 1} of ${method}` }));
  return el('figure', { className: 'references' },
    el('figcaption', {}, 'Strongest in these samples'), el('div', {}, ...images));
}

function methodCard({ input }, attribution, original) {
  const { method, shape, error } = attribution;
  const node = el('article', { className: 'card' }, text('h3', method));
  if (typeof error === 'string') {
    node.append(el('div', { className: 'failed' }, el('strong', {}, 'Failed'), text('p', error)), facts(attribution));
    return { node };
  }
  const kind = KINDS[KINDS[input.kind].fits(input, shape) ? input.kind : 'other'];
  const place = (row, column) => kind.place(input, row, column);
  const raw = floats(attribution.values);
  const values = kind === KINDS.image ? resized(raw, shape, input.height, input.width) : raw;
  const numbers = { raw, values, shape, kept: {} };
  const picture = kind.picture(input, numbers, original);
  const list = strongest(attribution, place, numbers, picture.size);
  const scale = colourBar();
  const value = () => shown(values[at[0] * picture.size[1] + at[1]]);
  node.append(picture.node);
  // Bars say all values, and their length is not clipped.
  if (picture.locate) node.append(reader(picture, `Attributions of ${method}`, place, value), scale.node);
  node.append(...[referenceSamples(attribution), facts(attribution, sum(raw)), list.node].filter(Boolean));

  const draw = () => {
    picture.draw();
    list.draw();
    const view = kind === KINDS.image && original ? state.view : '';
    scale.draw(normalized(numbers).threshold, view === 'masked_image');
    scale.node.classList.toggle('unused', view === 'original_image');
  };
  return { node, draw, mark: picture.mark, say: () => (picture.locate ? `${method} ${value()}` : '') };
}

function inputCard({ input, predictions }, original) {
  const isImage = input.kind === 'image';
  const node = el('article', { className: 'card input' }, el('h3', {}, isImage ? 'Input' : 'Predictions'));
  const picture = original && imagePicture(input, null, original);
  if (picture) {
    const colour = () => rgb(original, 4 * (at[0] * input.width + at[1]));
    node.append(picture.node, reader(picture, 'Input', (...place) => KINDS.image.place(input, ...place), colour));
  } else if (isImage) {
    node.append(el('p', { className: 'failed' }, 'This picture could not be read.'));
  }
  const areShares = predictions.every(({ score }) => score >= 0 && score <= 1);
  const rows = predictions.slice(0, 10).map(({ label, score }) => {
    const onclick = async () => {
      state.target = label;
      await show();
      $('cards').querySelector('[aria-pressed="true"]').focus();
    };
    const name = text(targets.includes(label) ? 'button' : 'span', label);
    if (targets.includes(label)) {
      Object.assign(name, { type: 'button', className: 'link', onclick });
      name.setAttribute('aria-pressed', label === state.target);
    }
    return el('li', {}, name, number(score), areShares ? bar(score, true, 'var(--accent)') : null);
  });
  if (isImage && rows.length) node.append(el('h4', {}, 'Predictions'));
  node.append(rows.length ? el('ol', { className: 'predictions' }, ...rows) : '');
  return { node, ...(picture && { draw: picture.draw, mark: picture.mark }), empty: !isImage && !rows.length };
}

// The place looked at

const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function look(place) {
  at = place;
  for (const { mark } of cards) if (mark) mark();
}

/** Lets the mouse and the arrow keys look at places of a picture. Returns the line that says what is there. */
function reader(picture, label, place, value) {
  const { node, size: [rows, columns], locate, mark } = picture;
  const read = el('p', { className: 'read', dir: 'auto' });
  picture.mark = () => {
    mark();
    read.textContent = at ? `${place(...at)}: ${value()}` : '';
  };
  const isOther = (target) => !target || !target.closest('.picture');
  node.tabIndex = 0;
  node.setAttribute('role', 'application');
  node.setAttribute('aria-label', `${label}. Arrow keys read values.`);
  node.addEventListener('pointermove', (event) => look(locate(event) || at));
  node.addEventListener('pointerleave', () => isOther(document.activeElement) && look(null));
  node.addEventListener('focus', () => at || look(columns > 1 && rows > 1 ? [rows >> 1, columns >> 1] : [0, 0]));
  node.addEventListener('blur', ({ relatedTarget }) => isOther(relatedTarget) && look(null));
  node.addEventListener('keydown', (event) => {
    const arrow = ARROWS[event.key];
    if (!arrow || !at || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const [down, along] = arrow.map((step) => step * (event.shiftKey ? 10 : 1));
    look([clamp(at[0] + down, 0, rows - 1), clamp(at[1] + along, 0, columns - 1)]);
    const said = cards.map(({ say }) => say && say()).filter(Boolean);
    $('announcer').textContent = `${place(...at)}: ${said.join(', ')}`;
  });
  return read;
}

// Sections

function fill(id, ...children) {
  $(id).hidden = !children.length;
  $(id).querySelector('.wide').replaceChildren(...children);
}

function showMetrics(attributions) {
  const all = attributions.flatMap(({ metrics }) => metrics);
  const columns = unique(all.map(({ name }) => name)).map((name) => {
    const own = all.filter((metric) => metric.name === name);
    const values = own.map(({ value }) => value).filter((value) => typeof value === 'number');
    const higher = own[0].better === 'higher';
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return { name, higher, best: low < high ? (higher ? high : low) : null };
  });
  if (!columns.length) return fill('metrics');
  const head = columns.map(({ name, higher }) =>
    el('span', {}, text('span', name), el('small', {}, higher ? '↑ higher is better' : '↓ lower is better')));
  const star = () => el('span', { role: 'img', 'aria-label': 'best' }, '★');
  const rows = attributions.map(({ method, metrics }) => [method, ...columns.map(({ name, best }) => {
    const metric = metrics.find((own) => own.name === name);
    if (!metric || best === null || metric.value !== best) return metric ? metric.value : null;
    return el('strong', { className: 'number' }, star(), ` ${shown(best)}`);
  })]);
  return fill('metrics', table(['Method', ...head], rows));
}

function showLedger({ name }) {
  const own = data.ledger.filter(({ sample, target }) => sample === name && target === state.target);
  fill('ledger', ...own.flatMap(({ start, inputs, entries }) => {
    const rows = entries.map(({ layer, bias, stabilizer, stopped, rounding }) =>
      [layer, bias, stabilizer, stopped, rounding, bias + stabilizer + stopped + rounding]);
    const totals = [1, 2, 3, 4, 5].map((column) => sum(rows.map((row) => row[column])));
    const intro = `Started with ${shown(start)}. Arrived at the inputs: ${shown(inputs)}. Lost: ${shown(totals[4])}. `
      + `Not accounted for: ${shown(start - inputs - totals[4])}.`;
    const head = ['Layer', 'Bias', 'Stabilizer', 'Stopped', 'Rounding', 'All lost'];
    return [el('p', {}, intro), table(head, rows, [['All layers', ...totals]])];
  }));
}

function showModel() {
  if (!data.model.length) return fill('model');
  const relevances = data.model.map(({ relevance }) => relevance).filter((relevance) => typeof relevance === 'number');
  const largest = Math.max(...relevances.map(Math.abs)) || 1;
  const oneSided = relevances.every((relevance) => relevance >= 0);
  const rows = data.model.map(({ name, op, shape, relevance }) => {
    const known = typeof relevance === 'number';
    const meter = known ? bar(relevance / largest, oneSided, barColour(relevance, 'all')) : '';
    return [name, op, shape.join('\u00a0×\u00a0'), ...(relevances.length ? [relevance, meter] : [])];
  });
  return fill('model', table(['Layer', 'Operation', 'Shape', ...(relevances.length ? ['Relevance', ''] : [])], rows));
}

function showReproduce() {
  if (!data.reproduce.length) return fill('reproduce');
  $('copy').addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(data.reproduce.map(({ name, value }) => `${name}: ${value}`).join('\n'));
      $('copied').textContent = 'Copied.';
    } catch {
      getSelection().selectAllChildren($('reproduce').querySelector('tbody'));
      $('copied').textContent = 'Selected. Copy it with Ctrl+C or ⌘C.';
    }
  });
  const rows = data.reproduce.map(({ name, value }) => [name, text('code', value)]);
  return fill('reproduce', table(['What', 'Value'], rows));
}

// What is chosen

let loaded = {};

/** Returns the pixels of the input, or null when its picture is broken. Keeps the latest. */
function pixels(input) {
  if (loaded.input !== input) {
    const { width, height, png } = input;
    const read = (resolve) => {
      const image = new Image();
      image.onerror = () => resolve(null);
      image.onload = () => {
        const context = el('canvas', { width, height }).getContext('2d', { willReadFrequently: true });
        context.drawImage(image, 0, 0, width, height);
        resolve(context.getImageData(0, 0, width, height).data);
      };
      image.src = png;
    };
    loaded = { input, pixels: new Promise(read) };
  }
  return loaded.pixels;
}

async function show() {
  root.dataset.ready = 'false';
  const sample = samples[state.sample];
  const { input, attributions, predictions, name } = sample;
  const original = input.kind === 'image' ? await pixels(input) : null;
  // Another sample may have been chosen meanwhile.
  if (sample !== samples[state.sample]) return;

  const narrow = (list, key) => {
    const known = unique(list.map((attribution) => attribution[key]));
    if (!known.includes(state[key])) [state[key]] = known;
    return [known, list.filter((attribution) => attribution[key] === state[key])];
  };
  let chosen;
  [targets, chosen] = narrow(attributions, 'target');
  [layers, chosen] = narrow(chosen, 'layer');

  const scores = new Map(predictions.map(({ label, score }) => [label, ` (${shown(score)})`]));
  options('target', targets, state.target, (target) => isolated(target) + (scores.get(target) || ''));
  options('layer', layers, state.layer, (layer) => layer || 'input');
  const boxes = unique(chosen.map(({ method }) => method)).map((method) => {
    const onchange = (event) => {
      state.hidden[event.target.checked ? 'delete' : 'add'](method);
      showCards(sample, chosen, original);
    };
    const box = el('input', { type: 'checkbox', checked: !state.hidden.has(method), onchange });
    return el('label', {}, box, text('span', method));
  });
  $('methods').replaceChildren($('methods').firstElementChild, ...boxes);
  $('name').textContent = name;
  const [target, layer] = [state.target || 'none', state.layer || 'input'].map(isolated);
  $('question').textContent = `Target class: ${target}. Layer: ${layer}.`;
  $('view').hidden = $('weight-row').hidden = input.kind !== 'image';
  $('outlier-row').hidden = input.kind === 'table';
  showCards(sample, chosen, original);
  showMetrics(chosen);
  showLedger(sample);
  root.dataset.ready = 'true';
}

function showCards(sample, chosen, original) {
  const visible = chosen.filter(({ method }) => !state.hidden.has(method));
  at = null;
  cards = [inputCard(sample, original), ...visible.map((attribution) => methodCard(sample, attribution, original))];
  const nodes = cards.filter(({ empty }) => !empty).map(({ node }) => node);
  const none = el('p', {}, chosen.length ? 'No method is chosen.' : 'This sample has no attributions.');
  $('cards').dataset.kind = sample.input.kind;
  $('cards').replaceChildren(...nodes, ...(visible.length ? [] : [none]));
  display();
}

function display() {
  for (const name of ['view', 'sign']) {
    for (const radio of document.getElementsByName(name)) radio.checked = radio.value === state[name];
  }
  $('outlier').value = state.outlier;
  $('outlier-value').textContent = `${state.outlier} %`;
  $('weight').value = $('weight-value').textContent = state.weight;
  $('weight').disabled = state.view !== 'blended_heat_map';
  for (const { draw } of cards) if (draw) draw();
  look(at);
  keep();
}

const found = () => {
  const wanted = $('filter').value.toLowerCase();
  return [...samples.keys()].filter((i) => samples[i].name.toLowerCase().includes(wanted));
};

/** Fills a select; its values are the places in the list, because names may repeat. */
const options = (id, list, chosen, label) =>
  $(id).replaceChildren(...list.map((item, i) => new Option(label(item), i, false, item === chosen)));

/** Shows the chosen sample, or the first that is found when it is not. */
function listSamples() {
  const list = found();
  if (list.length && !list.includes(state.sample)) [state.sample] = list;
  const place = list.indexOf(state.sample);
  options('sample', list, state.sample, (i) => samples[i].name);
  $('place').textContent = list.length ? `${place + 1} of ${list.length}` : 'None found';
  $('previous').disabled = place <= 0;
  $('next').disabled = place === list.length - 1;
  return show();
}

// The address holds what is chosen: a link opens it again

let waiting;

function keep() {
  clearTimeout(waiting);
  // Browsers refuse frequent changes, such as those of a slider.
  waiting = setTimeout(() => {
    const hash = new URLSearchParams({ sample: state.sample + 1 });
    for (const name of ['target', 'layer', 'theme']) if (state[name]) hash.set(name, state[name]);
    for (const name of Object.keys(DISPLAY)) if (state[name] !== DISPLAY[name]) hash.set(name, state[name]);
    for (const method of state.hidden) hash.append('hide', method);
    try {
      history.replaceState(null, '', `#${hash}`);
    } catch {
      // A report inside another page, such as a notebook, has no address of its own.
    }
  }, 200);
}

function restore() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const among = (name, known, otherwise) => (known.includes(hash.get(name)) ? hash.get(name) : otherwise);
  const within = (name, low, high, otherwise) => {
    const value = parseFloat(hash.get(name));
    return Number.isNaN(value) ? otherwise : clamp(value, low, high);
  };
  state.sample = Math.floor(within('sample', 1, Math.max(samples.length, 1), 1)) - 1;
  state.target = hash.get('target');
  state.layer = hash.get('layer');
  state.hidden = new Set(hash.getAll('hide'));
  state.theme = among('theme', ['dark', 'light'], '');
  state.view = among('view', Array.from(document.getElementsByName('view'), ({ value }) => value), DISPLAY.view);
  state.sign = among('sign', Object.keys(KEEP), DISPLAY.sign);
  state.outlier = within('outlier', 0, 20, DISPLAY.outlier);
  state.weight = within('weight', 0, 1, DISPLAY.weight);
  theme();
}

const system = matchMedia('(prefers-color-scheme: dark)');
const isDark = () => (state.theme ? state.theme === 'dark' : system.matches);

function theme() {
  root.dataset.theme = state.theme;
  $('theme').textContent = isDark() ? 'Light theme' : 'Dark theme';
}

function listen() {
  const on = (id, event, change, then) => $(id).addEventListener(event, ({ target }) => {
    change(target);
    then();
  });
  const step = (by) => () => {
    const list = found();
    state.sample = list[list.indexOf(state.sample) + by];
  };
  on('previous', 'click', step(-1), listSamples);
  on('next', 'click', step(1), listSamples);
  on('sample', 'change', ({ value }) => { state.sample = found()[value]; }, listSamples);
  on('filter', 'input', () => {}, listSamples);
  on('target', 'change', ({ value }) => { state.target = targets[value]; }, show);
  on('layer', 'change', ({ value }) => { state.layer = layers[value]; }, show);
  for (const name of ['view', 'sign']) on(name, 'change', ({ value }) => { state[name] = value; }, display);
  for (const name of ['outlier', 'weight']) on(name, 'input', ({ value }) => { state[name] = Number(value); }, display);
  on('reset', 'click', () => Object.assign(state, DISPLAY), display);
  $('controls').addEventListener('submit', (event) => event.preventDefault());
  addEventListener('hashchange', () => {
    restore();
    listSamples();
  });
}

async function start() {
  // Browsers parse several scripts faster than one large one: the data may be cut anywhere.
  const parts = document.querySelectorAll('script[type="application/json"]');
  data = JSON.parse(Array.from(parts, ({ textContent }) => textContent).join(''));
  samples = data.samples;
  palettes = { signed: bytes(data.palettes.signed), unsigned: bytes(data.palettes.unsigned) };
  $('made').textContent = [data.generator, data.created].filter(Boolean).join(' · ');
  $('left-out').hidden = !data.left_out.length;
  $('left-out').querySelector('ul').append(...data.left_out.map((sentence) => text('li', sentence)));
  restore();
  $('theme').addEventListener('click', () => {
    state.theme = isDark() ? 'light' : 'dark';
    theme();
    keep();
  });
  system.addEventListener('change', theme);
  showModel();
  showReproduce();
  $('status').textContent = 'This report has no samples.';
  if (samples.length) {
    const isNarrow = matchMedia('(max-width: 900px)').matches;
    for (const details of document.querySelectorAll('details.group')) details.open = !isNarrow;
    $('filter-row').hidden = samples.length <= 20;
    listen();
    await listSamples();
    $('controls').hidden = $('explained').hidden = false;
    $('status').hidden = true;
  }
  root.dataset.ready = 'true';
  performance.mark('ready');
}

start().catch((error) => {
  $('status').textContent = `This report cannot be shown: ${error.message}`;
  throw error;
});
