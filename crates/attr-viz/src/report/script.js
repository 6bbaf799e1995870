'use strict';
// Text from the data may hold anything: it only ever becomes text nodes and attributes, never HTML.
(() => {
  const root = document.documentElement;
  const $ = (id) => document.getElementById(id);
  const DISPLAY = { view: 'heat_map', sign: 'all', outlier: 2, weight: 0.7 };
  const state = { sample: 0, target: null, layer: null, hidden: new Set(), theme: '', ...DISPLAY };

  let data;
  let samples = [];
  let palettes = {};
  let targets = [];
  let layers = [];
  let cards = [];
  /** The row and column that every picture marks. */
  let at = null;
  const opened = new Set();

  // Small helpers

  function el(tag, properties = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in node) node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  const text = (tag, content, className = '') => el(tag, { dir: 'auto', className }, content);

  /** Keeps text of another direction from reordering what surrounds it. */
  const isolated = (content) => `\u2068${content}\u2069`;

  const unique = (list) => [...new Set(list)];

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  function shown(number) {
    if (typeof number !== 'number') return '–';
    const size = Math.abs(number);
    if (Number.isInteger(number) && size < 1e6) return String(number);
    if (size < 1e-3 || size >= 1e6) return number.toExponential(2);
    return size >= 1000 ? number.toFixed(0) : String(Number(number.toPrecision(3)));
  }

  function bytes(base64) {
    const decoded = atob(base64);
    const out = new Uint8Array(decoded.length);
    for (let i = 0; i < out.length; i++) out[i] = decoded.charCodeAt(i);
    return out;
  }

  // Every platform with a browser is little-endian, as the data is.
  const floats = (base64) => new Float32Array(bytes(base64).buffer);

  function table(head, rows, foot = []) {
    const cell = (content, first) => {
      const number = typeof content === 'number' || content === null;
      const inner = number ? shown(content) : content;
      if (first) return el('th', { scope: 'row', dir: 'auto' }, inner);
      return el('td', { className: number ? 'number' : '', dir: 'auto' }, inner);
    };
    const line = (row) => el('tr', {}, ...row.map((content, i) => cell(content, i === 0)));
    const titles = head.map((title) => el('th', { scope: 'col', dir: 'auto' }, title));
    return el('table', {},
      el('thead', {}, el('tr', {}, ...titles)),
      el('tbody', {}, ...rows.map(line)),
      foot.length ? el('tfoot', {}, ...foot.map(line)) : null);
  }

  /** A bar from the middle to one side, or from the left when there is only one side. */
  function bar(share, oneSided, colour) {
    const width = 100 * clamp(Math.abs(share), 0, 1) / (oneSided ? 1 : 2);
    const fill = el('div', { className: 'fill' });
    fill.style.width = `${width}%`;
    fill.style.left = oneSided ? '0' : `${share < 0 ? 50 - width : 50}%`;
    fill.style.background = colour;
    return el('div', { className: oneSided ? 'track' : 'track middle' }, fill);
  }

  // Numbers

  const KEEP = {
    all: (v) => v,
    positive: (v) => Math.max(v, 0),
    negative: (v) => Math.max(-v, 0),
    absolute_value: Math.abs,
  };

  /** Bilinear, with pixel centres half a step from the border. */
  function resized(values, [height, width], toHeight, toWidth) {
    if (height === toHeight && width === toWidth) return values;
    const out = new Float32Array(toHeight * toWidth);
    const place = (i, from, to) => {
      const position = clamp((i + 0.5) * from / to - 0.5, 0, from - 1);
      const low = Math.floor(position);
      return [low, Math.min(low + 1, from - 1), position - low];
    };
    const columns = Array.from({ length: toWidth }, (_, x) => place(x, width, toWidth));
    for (let y = 0; y < toHeight; y++) {
      const [top, bottom, down] = place(y, height, toHeight);
      for (let x = 0; x < toWidth; x++) {
        const [left, right, along] = columns[x];
        const row = (r) => values[r * width + left] * (1 - along) + values[r * width + right] * along;
        out[y * toWidth + x] = row(top) * (1 - down) + row(bottom) * down;
      }
    }
    return out;
  }

  /** The normalisation of Captum's visualize_image_attr; what depends on the sign alone is kept. */
  function normalized(numbers) {
    const { sign, outlier } = state;
    if (!numbers.kept[sign]) {
      const values = numbers.values.map(KEEP[sign]);
      const sorted = values.map(Math.abs).sort();
      numbers.kept[sign] = { values, sorted, total: sorted.reduce((sum, v) => sum + v, 0) };
    }
    const { values, sorted, total } = numbers.kept[sign];
    const limit = total * (100 - outlier) / 100;
    let threshold = sorted.length ? sorted[sorted.length - 1] : 0;
    for (let i = 0, sum = 0; i < sorted.length; i++) {
      sum += sorted[i];
      if (sum >= limit) {
        threshold = sorted[i];
        break;
      }
    }
    return { values, threshold, share: (i) => (threshold === 0 ? 0 : clamp(values[i] / threshold, -1, 1)) };
  }

  const palette = () => (state.sign === 'all' ? palettes.signed : palettes.unsigned);

  /** The offset of a normalised value's colour in the palette. */
  const offset = (share) => 3 * Math.round(state.sign === 'all' ? (share + 1) * 127.5 : share * 255);

  const rgb = (colours, o) => `rgb(${colours[o]}, ${colours[o + 1]}, ${colours[o + 2]})`;

  function barColour(share) {
    if (state.sign !== 'all') return rgb(palettes.unsigned, 3 * 180);
    return rgb(palettes.signed, 3 * (share < 0 ? 46 : 209));
  }

  /** Black or white, whichever contrasts more by WCAG's relative luminance. */
  function inkOn(colours, o) {
    const linear = [0, 1, 2].map((k) => {
      const c = colours[o + k] / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    const luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    return luminance > 0.179 ? '#000' : '#fff';
  }

  // Pictures: each has a node, draw() for new display settings, mark() for the place looked at, and
  // its size in rows and columns. `numbers` is null for the input itself.

  function imagePicture(input, numbers, original) {
    const { width, height } = input;
    const canvas = el('canvas', { width, height, className: width < 128 ? 'crisp' : '' });
    const cross = el('div', { className: 'cross', hidden: true });
    const node = el('div', { className: 'picture' }, canvas, cross);
    node.style.maxWidth = `${22 * width / height}rem`;
    const context = canvas.getContext('2d', { willReadFrequently: true });

    const draw = () => {
      const view = !numbers ? 'original_image' : original ? state.view : 'heat_map';
      const share = numbers ? normalized(numbers).share : () => 0;
      const colours = palette();
      const weight = state.weight;
      const image = context.createImageData(width, height);
      const out = image.data;
      for (let i = 0; i < width * height; i++) {
        const value = share(i);
        const colour = offset(value);
        const p = 4 * i;
        const grey = original ? Math.floor((original[p] + original[p + 1] + original[p + 2]) / 3) : 0;
        for (let k = 0; k < 3; k++) {
          const own = original ? original[p + k] : 0;
          if (view === 'heat_map') out[p + k] = colours[colour + k];
          else if (view === 'original_image') out[p + k] = own;
          else if (view === 'masked_image') out[p + k] = own * Math.abs(value);
          else out[p + k] = grey * (1 - weight) + colours[colour + k] * weight;
        }
        out[p + 3] = 255;
      }
      context.putImageData(image, 0, 0);
    };
    const mark = () => {
      cross.hidden = !at;
      if (!at) return;
      cross.style.left = `${100 * (at[1] + 0.5) / width}%`;
      cross.style.top = `${100 * (at[0] + 0.5) / height}%`;
    };
    const locate = (event) => {
      const box = canvas.getBoundingClientRect();
      const row = Math.floor((event.clientY - box.top) / box.height * height);
      const column = Math.floor((event.clientX - box.left) / box.width * width);
      return [clamp(row, 0, height - 1), clamp(column, 0, width - 1)];
    };
    return { node, draw, mark, locate, size: [height, width], middle: true };
  }

  function textPicture(input, numbers) {
    const tokens = input.tokens.map((token) => el('bdi', { className: 'token' }, token));
    const node = el('div', { className: 'picture text', dir: 'auto' });
    for (const token of tokens) node.append(token, ' ');
    let marked = null;

    const draw = () => {
      const { share } = normalized(numbers);
      const colours = palette();
      tokens.forEach((token, i) => {
        const colour = offset(share(i));
        token.style.background = rgb(colours, colour);
        token.style.color = inkOn(colours, colour);
      });
    };
    const mark = () => {
      if (marked) marked.classList.remove('at');
      marked = at ? tokens[at[1]] : null;
      if (!marked) return;
      marked.classList.add('at');
      if (node.contains(document.activeElement)) marked.scrollIntoView({ block: 'nearest' });
    };
    const locate = (event) => {
      const index = tokens.indexOf(event.target);
      return index < 0 ? null : [0, index];
    };
    return { node, draw, mark, locate, size: [1, tokens.length] };
  }

  function seriesPicture(input, numbers) {
    const length = numbers.shape[1];
    // Browsers limit a canvas's width: a column of a longer series shows its strongest step.
    const columns = Math.min(length, 4096);
    const node = el('div', { className: 'picture series' });
    const channels = input.channels.map((channel) => {
      const values = floats(channel.values);
      const [low, high] = values.reduce(([l, h], v) => [Math.min(l, v), Math.max(h, v)], [Infinity, -Infinity]);
      const canvas = el('canvas', { width: columns, height: 1, className: 'crisp' });
      const line = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
      line.setAttribute('viewBox', `0 0 ${length} 1`);
      line.setAttribute('preserveAspectRatio', 'none');
      line.setAttribute('aria-hidden', 'true');
      const height = (v) => 0.95 - 0.9 * (high > low ? (v - low) / (high - low) : 0.5);
      const points = Array.from(values, (v, i) => `${i + 0.5},${height(v).toFixed(4)}`).join(' ');
      for (const className of ['casing', 'line']) {
        const path = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
        path.setAttribute('points', points);
        path.setAttribute('class', className);
        line.append(path);
      }
      const cross = el('div', { className: 'step', hidden: true });
      const strip = el('div', { className: 'strip' }, canvas, line, cross);
      const range = el('span', { className: 'quiet' }, `${shown(low)} to ${shown(high)}`);
      node.append(el('div', { className: 'channel' }, text('span', channel.name), range), strip);
      return { context: canvas.getContext('2d', { willReadFrequently: true }), cross, strip };
    });

    const draw = () => {
      const { share } = normalized(numbers);
      const colours = palette();
      channels.forEach(({ context }, c) => {
        const strongest = new Float32Array(columns);
        for (let i = 0; i < length; i++) {
          const column = Math.floor(i * columns / length);
          const value = share(c * length + i);
          if (Math.abs(value) > Math.abs(strongest[column])) strongest[column] = value;
        }
        const image = context.createImageData(columns, 1);
        strongest.forEach((value, i) => {
          const colour = offset(value);
          image.data.set([...colours.subarray(colour, colour + 3), 255], 4 * i);
        });
        context.putImageData(image, 0, 0);
      });
    };
    const mark = () => channels.forEach(({ cross }, c) => {
      cross.hidden = !at;
      if (!at) return;
      cross.classList.toggle('own', at[0] === c);
      cross.style.left = `${100 * (at[1] + 0.5) / length}%`;
    });
    const locate = (event) => {
      const channel = channels.findIndex(({ strip }) => strip.contains(event.target));
      if (channel < 0) return null;
      const box = channels[channel].strip.getBoundingClientRect();
      const step = Math.floor((event.clientX - box.left) / box.width * length);
      return [channel, clamp(step, 0, length - 1)];
    };
    return { node, draw, mark, locate, size: [channels.length, length] };
  }

  function barsPicture(names, numbers) {
    const most = 20;
    let all = false;
    const node = el('div', { className: 'bars' });

    const draw = () => {
      const values = normalized(numbers).values;
      const order = Array.from(values.keys()).sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]));
      const largest = Math.abs(values[order[0]]) || 1;
      const rows = order.slice(0, all ? order.length : most).map((i) => [
        names(i),
        bar(values[i] / largest, state.sign !== 'all', barColour(values[i])),
        values[i],
      ]);
      node.replaceChildren(table(['Feature', '', 'Value'], rows));
      if (order.length <= most) return;
      const title = all ? `Show the first ${most}` : `Show all ${order.length}`;
      const flip = () => {
        all = !all;
        draw();
        node.lastChild.focus();
      };
      node.append(el('button', { type: 'button', onclick: flip }, title));
    };
    return { node, draw, mark: () => {}, size: null };
  }

  // What differs between kinds of input

  const KINDS = {
    image: {
      fits: (input, shape) => shape.length === 2,
      picture: imagePicture,
      place: (input, row, column) => `x ${column}, y ${row}`,
      // The middle of a cell when the map is smaller than the image.
      cell: ({ width, height }, [rows, columns], i) => [
        Math.floor((Math.floor(i / columns) + 0.5) * height / rows),
        Math.floor((i % columns + 0.5) * width / columns),
      ],
    },
    text: {
      fits: (input, shape) => shape.length === 1 && shape[0] === input.tokens.length,
      picture: textPicture,
      place: (input, row, column) => `${isolated(input.tokens[column])} (token ${column + 1})`,
      cell: (input, shape, i) => [0, i],
    },
    series: {
      fits: (input, shape) => shape.length === 2 && shape[0] === input.channels.length,
      picture: seriesPicture,
      place: (input, row, column) => `${isolated(input.channels[row].name)}, step ${column}`,
      cell: (input, shape, i) => [Math.floor(i / shape[1]), i % shape[1]],
    },
    table: {
      fits: (input, shape) => shape.length === 1 && shape[0] === input.features.length,
      picture: (input, numbers) => barsPicture((i) => feature(input, i), numbers),
      place: (input, row, column) => feature(input, column),
      cell: (input, shape, i) => [0, i],
    },
  };

  const feature = ({ features }, i) => `${isolated(features[i].name)} = ${isolated(features[i].value)}`;

  /** For numbers whose shape is not the input's, such as those of a layer after an image's end. */
  const OTHER = {
    picture: (input, numbers) => barsPicture((i) => `Element ${i}`, numbers),
    place: (input, row, column) => `Element ${column}`,
    cell: (input, shape, i) => [0, i],
  };

  // Cards

  function colourBar() {
    const canvas = el('canvas', { width: 256, height: 1 });
    const ticks = el('div', { className: 'ticks', 'aria-hidden': 'true' });
    const unit = el('p', { className: 'quiet' });
    const node = el('div', { className: 'scale' }, canvas, ticks, unit);
    const draw = (threshold) => {
      const masked = state.view === 'masked_image' && samples[state.sample].input.kind === 'image';
      const colours = palette();
      const image = canvas.getContext('2d').createImageData(256, 1);
      for (let i = 0; i < 256; i++) {
        const own = masked ? [i, i, i] : colours.subarray(3 * i, 3 * i + 3);
        image.data.set([...own, 255], 4 * i);
      }
      canvas.getContext('2d').putImageData(image, 0, 0);
      const steps = state.sign === 'all' && !masked ? ['-1', '-0.5', '0', '0.5', '1'] : ['0', '0.5', '1'];
      ticks.replaceChildren(...steps.map((step) => el('span', {}, step)));
      unit.textContent = threshold > 0 ? `1 is ${shown(threshold)}` : 'Nothing of this sign';
    };
    return { node, draw };
  }

  function strongest(kind, input, numbers) {
    const list = el('ol');
    const node = el('details', { className: 'strongest' }, el('summary', {}, 'Strongest'), list);
    const draw = () => {
      const kept = numbers.raw.map(KEEP[state.sign]);
      const top = [];
      for (let i = 0; i < kept.length; i++) {
        const size = Math.abs(kept[i]);
        if (size === 0 || (top.length === 5 && size <= Math.abs(kept[top[4]]))) continue;
        top.push(i);
        top.sort((a, b) => Math.abs(kept[b]) - Math.abs(kept[a]));
        top.length = Math.min(top.length, 5);
      }
      list.replaceChildren(...top.map((i) => {
        const place = kind.place(input, ...kind.cell(input, numbers.shape, i));
        return el('li', {}, text('span', place), el('span', { className: 'number' }, shown(numbers.raw[i])));
      }));
    };
    return { node, draw };
  }

  function facts(attribution, sum) {
    const { delta, seconds, evaluations } = attribution;
    const entries = [
      ['Sum', sum],
      ['Convergence delta', delta],
      ['Time', typeof seconds === 'number' ? `${shown(seconds)} s` : null],
      ['Evaluations', evaluations],
    ].filter(([, value]) => value !== null && value !== undefined);
    const pairs = entries.map(([name, value]) => el('div', {},
      el('dt', {}, name), el('dd', {}, typeof value === 'number' ? shown(value) : value)));
    return el('dl', { className: 'facts' }, ...pairs);
  }

  function methodCard(sample, attribution, original) {
    const title = text('h3', attribution.method);
    const node = el('article', { className: 'card' }, title);
    if (attribution.error !== null && attribution.error !== undefined) {
      node.append(el('div', { className: 'failed' }, el('strong', {}, 'Failed'), text('p', attribution.error)));
      node.append(facts(attribution, null));
      return { node, draw: () => {}, mark: () => {} };
    }
    const { input } = sample;
    const kind = KINDS[input.kind].fits(input, attribution.shape) ? KINDS[input.kind] : OTHER;
    const raw = floats(attribution.values);
    const isImage = kind === KINDS.image;
    const values = isImage ? resized(raw, attribution.shape, input.height, input.width) : raw;
    const numbers = { raw, values, shape: attribution.shape, kept: {} };
    const picture = kind.picture(input, numbers, original);
    const scale = picture.size ? colourBar() : null;
    const list = strongest(kind, input, numbers);
    const read = el('p', { className: 'read', dir: 'auto' });
    list.node.open = opened.has(attribution.method);
    list.node.addEventListener('toggle', () => {
      if (list.node.open) opened.add(attribution.method);
      else opened.delete(attribution.method);
    });
    node.append(picture.node);
    if (scale) node.append(read, scale.node);
    node.append(facts(attribution, raw.reduce((sum, v) => sum + v, 0)), list.node);
    if (picture.size) explorable(picture, `${attribution.method}: attributions. Arrow keys read values.`);

    const value = () => values[at[0] * picture.size[1] + at[1]];
    const draw = () => {
      picture.draw();
      list.draw();
      if (!scale) return;
      scale.node.hidden = isImage && original !== null && state.view === 'original_image';
      scale.draw(normalized(numbers).threshold);
    };
    const mark = () => {
      picture.mark();
      if (picture.size) read.textContent = at ? `${kind.place(input, ...at)}: ${shown(value())}` : '';
    };
    const say = () => (picture.size ? `${attribution.method} ${shown(value())}` : '');
    return { node, draw, mark, say };
  }

  function inputCard({ input, predictions }, original) {
    const isImage = input.kind === 'image';
    const node = el('article', { className: 'card input' }, el('h3', {}, isImage ? 'Input' : 'Predictions'));
    const picture = isImage ? imagePicture(input, null, original) : null;
    const read = el('p', { className: 'read' });
    if (isImage && original) {
      node.append(picture.node, read);
      explorable(picture, 'The input. Arrow keys read values.');
    } else if (isImage) {
      node.append(el('p', { className: 'failed' }, 'This picture could not be read.'));
    }
    const areShares = predictions.every(({ score }) => score >= 0 && score <= 1);
    const rows = predictions.slice(0, 10).map(({ label, score }) => {
      const choose = () => {
        state.target = label;
        show();
      };
      const chosen = String(label === state.target);
      const name = targets.includes(label)
        ? el('button', { type: 'button', className: 'link', dir: 'auto', title: 'Explain this class', 'aria-pressed': chosen, onclick: choose }, label)
        : text('span', label);
      const meter = areShares ? bar(score, true, 'var(--accent)') : null;
      return el('li', {}, name, el('span', { className: 'number' }, shown(score)), meter);
    });
    if (isImage && rows.length) node.append(el('h4', {}, 'Predictions'));
    node.append(rows.length ? el('ol', { className: 'predictions' }, ...rows) : el('p', { className: 'quiet' }, 'None given.'));
    const draw = () => isImage && original && picture.draw();
    const mark = () => {
      if (!isImage || !original) return;
      picture.mark();
      const p = at ? 4 * (at[0] * input.width + at[1]) : 0;
      read.textContent = at ? `${KINDS.image.place(input, ...at)}: ${rgb(original, p)}` : '';
    };
    return { node, draw, mark };
  }

  // The place looked at

  const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

  function look(place) {
    at = place;
    for (const card of cards) card.mark();
  }

  function explorable({ node, size, locate, middle }, label) {
    const [rows, columns] = size;
    node.tabIndex = 0;
    node.setAttribute('role', 'application');
    node.setAttribute('aria-label', label);
    node.addEventListener('pointermove', (event) => {
      const place = locate(event);
      if (place) look(place);
    });
    node.addEventListener('pointerleave', () => {
      if (!document.activeElement.closest('.picture')) look(null);
    });
    node.addEventListener('focus', () => {
      if (!at) look(middle ? [rows >> 1, columns >> 1] : [0, 0]);
    });
    node.addEventListener('blur', () => look(null));
    node.addEventListener('keydown', (event) => {
      const arrow = ARROWS[event.key];
      if (!arrow || !at || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      const stride = event.shiftKey ? 10 : 1;
      look([clamp(at[0] + stride * arrow[0], 0, rows - 1), clamp(at[1] + stride * arrow[1], 0, columns - 1)]);
      const { input } = samples[state.sample];
      const said = cards.map((card) => (card.say ? card.say() : '')).filter(Boolean);
      $('announcer').textContent = `${KINDS[input.kind].place(input, ...at)}: ${said.join(', ')}`;
    });
  }

  // Sections

  function fill(id, ...children) {
    $(id).hidden = children.length === 0;
    $(id).querySelector('.wide').replaceChildren(...children);
  }

  function showMetrics(attributions) {
    const all = attributions.flatMap(({ metrics }) => metrics || []);
    const columns = unique(all.map(({ name }) => name)).map((name) => {
      const own = all.filter((metric) => metric.name === name && typeof metric.value === 'number');
      const higher = all.find((metric) => metric.name === name).better === 'higher';
      const values = own.map(({ value }) => value);
      return { name, higher, best: values.length > 1 ? (higher ? Math.max : Math.min)(...values) : null };
    });
    if (!columns.length) return fill('metrics');
    const head = columns.map(({ name, higher }) => el('span', {}, text('span', name),
      el('small', {}, higher ? '↑ higher is better' : '↓ lower is better')));
    const rows = attributions.map(({ method, metrics }) => [method, ...columns.map(({ name, best }) => {
      const metric = (metrics || []).find((own) => own.name === name);
      if (!metric || metric.value !== best || best === null) return metric ? metric.value : null;
      const star = el('span', { className: 'star', role: 'img', 'aria-label': 'best' }, '★');
      return el('strong', { className: 'number' }, star, ` ${shown(best)}`);
    })]);
    return fill('metrics', table(['Method', ...head], rows));
  }

  function showLedger(sample) {
    const own = data.ledger.filter((ledger) => ledger.sample === sample.name && ledger.target === state.target);
    const parts = ['bias', 'stabilizer', 'stopped', 'rounding'];
    fill('ledger', ...own.flatMap(({ start, inputs, entries }) => {
      const rows = entries.map((entry) => {
        const lost = parts.map((part) => entry[part]);
        return [entry.layer, ...lost, lost.reduce((sum, v) => sum + v, 0)];
      });
      const totals = [...parts, 'lost'].map((_, i) => rows.reduce((sum, row) => sum + row[i + 1], 0));
      const intro = `Started with ${shown(start)}. Arrived at the inputs: ${shown(inputs)}. `
        + `Lost: ${shown(totals[4])}. Not accounted for: ${shown(start - inputs - totals[4])}.`;
      const head = ['Layer', 'Bias', 'Stabilizer', 'Stopped', 'Rounding', 'All lost'];
      return [el('p', {}, intro), table(head, rows, [['All layers', ...totals]])];
    }));
  }

  function showModel() {
    if (!data.model.length) return fill('model');
    const relevances = data.model.map(({ relevance }) => relevance).filter((r) => typeof r === 'number');
    const largest = Math.max(...relevances.map(Math.abs)) || 1;
    const oneSided = relevances.every((relevance) => relevance >= 0);
    const rows = data.model.map(({ name, op, shape, relevance }) => {
      const row = [name, op, shape.join(' × ')];
      if (!relevances.length) return row;
      const known = typeof relevance === 'number';
      const colour = rgb(palettes.signed, 3 * (relevance < 0 ? 46 : 209));
      return [...row, known ? bar(relevance / largest, oneSided, colour) : '', known ? relevance : null];
    });
    const head = ['Layer', 'Operation', 'Shape'];
    return fill('model', table(relevances.length ? [...head, 'Relevance', ''] : head, rows));
  }

  function showReproduce() {
    if (!data.reproduce.length) return fill('reproduce');
    const rows = data.reproduce.map(({ name, value }) => [name, el('code', { dir: 'auto' }, value)]);
    $('copy').addEventListener('click', async () => {
      const lines = data.reproduce.map(({ name, value }) => `${name}: ${value}`).join('\n');
      try {
        await navigator.clipboard.writeText(lines);
        $('copied').textContent = 'Copied.';
      } catch {
        getSelection().selectAllChildren($('reproduce').querySelector('tbody'));
        $('copied').textContent = 'Selected. Copy it with Ctrl+C or ⌘C.';
      }
    });
    return fill('reproduce', table(['What', 'Value'], rows));
  }

  // The chosen sample

  let loaded = {};

  /** Returns the input's pixels, or null when its picture is broken; keeps the latest. */
  function pixels(input) {
    if (loaded.input !== input) {
      const image = new Image();
      image.src = input.png;
      const done = image.decode().then(() => {
        const canvas = el('canvas', { width: input.width, height: input.height });
        const context = canvas.getContext('2d', { willReadFrequently: true });
        context.drawImage(image, 0, 0, input.width, input.height);
        return context.getImageData(0, 0, input.width, input.height).data;
      });
      loaded = { input, done: done.catch(() => null) };
    }
    return loaded.done;
  }

  function choices(select, values, chosen, label) {
    select.replaceChildren(...values.map((value, i) => new Option(label(value), i, false, value === chosen)));
  }

  async function show() {
    root.dataset.ready = 'false';
    const sample = samples[state.sample];
    const { input, attributions, predictions } = sample;
    const original = input.kind === 'image' ? await pixels(input) : null;
    // Another sample may have been chosen meanwhile.
    if (sample !== samples[state.sample]) return;

    targets = unique(attributions.map(({ target }) => target));
    if (!targets.includes(state.target)) state.target = targets[0];
    const ofTarget = attributions.filter(({ target }) => target === state.target);
    layers = unique(ofTarget.map(({ layer }) => layer));
    if (!layers.includes(state.layer)) state.layer = layers[0];
    const chosen = ofTarget.filter(({ layer }) => layer === state.layer);
    const visible = chosen.filter(({ method }) => !state.hidden.has(method));

    const score = new Map(predictions.map((prediction) => [prediction.label, prediction.score]));
    choices($('target'), targets, state.target, (target) =>
      (score.has(target) ? `${isolated(target)} (${shown(score.get(target))})` : target));
    choices($('layer'), layers, state.layer, (layer) => (layer === null ? 'input' : layer));
    $('methods').replaceChildren($('methods').firstElementChild, ...unique(chosen.map(({ method }) => method)).map((method) => {
      const change = ({ target }) => {
        if (target.checked) state.hidden.delete(method);
        else state.hidden.add(method);
        showCards(sample, chosen.filter((own) => !state.hidden.has(own.method)), original);
      };
      const box = el('input', { type: 'checkbox', checked: !state.hidden.has(method), onchange: change });
      return el('label', {}, box, ' ', text('span', method));
    }));
    $('sample').value = state.sample;
    $('name').textContent = sample.name;
    $('question').textContent = targets.length
      ? `Why ${isolated(state.target)}? Attributions to ${state.layer === null ? 'the input' : isolated(state.layer)}.` : '';
    for (const id of ['view', 'weight-row']) $(id).hidden = input.kind !== 'image';
    $('outlier-row').hidden = input.kind === 'table';
    showCards(sample, visible, original);
    showMetrics(chosen);
    showLedger(sample);
    showPlace();
    root.dataset.ready = 'true';
  }

  function showCards(sample, visible, original) {
    at = null;
    cards = [inputCard(sample, original), ...visible.map((attribution) => methodCard(sample, attribution, original))];
    const none = sample.attributions.length ? 'No method is chosen.' : 'This sample has no attributions.';
    $('cards').className = `cards ${sample.input.kind}`;
    $('cards').replaceChildren(...cards.map(({ node }) => node), ...(visible.length ? [] : [el('p', {}, none)]));
    display();
  }

  function display() {
    for (const id of ['outlier', 'weight']) $(id).value = state[id];
    for (const name of ['view', 'sign']) {
      for (const radio of document.getElementsByName(name)) radio.checked = radio.value === state[name];
    }
    $('outlier-value').textContent = `${state.outlier} %`;
    $('weight-value').textContent = state.weight;
    $('weight').disabled = state.view !== 'blended_heat_map';
    for (const card of cards) card.draw();
    for (const card of cards) card.mark();
    keep();
  }

  // Finding samples

  const matches = () => {
    const wanted = $('filter').value.toLowerCase();
    return samples.map((_, i) => i).filter((i) => samples[i].name.toLowerCase().includes(wanted));
  };

  function listSamples() {
    const found = matches();
    choices($('sample'), found, state.sample, (i) => samples[i].name);
    [...$('sample').options].forEach((option, i) => { option.value = found[i]; });
    if (found.length && !found.includes(state.sample)) choose(found[0]);
    else showPlace();
  }

  function showPlace() {
    const found = matches();
    const place = found.indexOf(state.sample);
    $('place').textContent = place < 0 ? 'None found' : `${place + 1} of ${found.length}`;
    $('previous').disabled = place <= 0;
    $('next').disabled = place < 0 || place === found.length - 1;
  }

  function choose(sample) {
    state.sample = sample;
    show();
  }

  // The address holds what is chosen, so that a link opens it again

  let waiting = 0;

  function keep() {
    clearTimeout(waiting);
    // Browsers refuse frequent changes, such as those of a slider.
    waiting = setTimeout(() => {
      const hash = new URLSearchParams({ sample: state.sample + 1 });
      if (state.target !== undefined) hash.set('target', state.target);
      if (state.layer) hash.set('layer', state.layer);
      for (const name of Object.keys(DISPLAY)) if (state[name] !== DISPLAY[name]) hash.set(name, state[name]);
      for (const method of state.hidden) hash.append('hide', method);
      if (state.theme) hash.set('theme', state.theme);
      history.replaceState(null, '', `#${hash}`);
    }, 200);
  }

  function restore() {
    const hash = new URLSearchParams(location.hash.slice(1));
    const number = (name, low, high, otherwise) => {
      const value = parseFloat(hash.get(name));
      return Number.isNaN(value) ? otherwise : clamp(value, low, high);
    };
    const option = (name, otherwise) => {
      const known = [...document.getElementsByName(name)].some(({ value }) => value === hash.get(name));
      return known ? hash.get(name) : otherwise;
    };
    state.sample = Math.floor(number('sample', 1, Math.max(samples.length, 1), 1)) - 1;
    state.target = hash.get('target');
    state.layer = hash.get('layer');
    state.view = option('view', DISPLAY.view);
    state.sign = option('sign', DISPLAY.sign);
    state.outlier = number('outlier', 0, 20, DISPLAY.outlier);
    state.weight = number('weight', 0, 1, DISPLAY.weight);
    state.hidden = new Set(hash.getAll('hide'));
    state.theme = ['dark', 'light'].includes(hash.get('theme')) ? hash.get('theme') : '';
    theme();
  }

  const system = matchMedia('(prefers-color-scheme: dark)');

  const isDark = () => (state.theme ? state.theme === 'dark' : system.matches);

  function theme() {
    root.dataset.theme = state.theme;
    $('theme').textContent = isDark() ? 'Light theme' : 'Dark theme';
  }

  function listen() {
    const on = (id, event, act) => $(id).addEventListener(event, act);
    const step = (by) => {
      const found = matches();
      choose(found[found.indexOf(state.sample) + by]);
    };
    on('previous', 'click', () => step(-1));
    on('next', 'click', () => step(1));
    on('sample', 'change', ({ target }) => choose(Number(target.value)));
    on('filter', 'input', listSamples);
    on('target', 'change', ({ target }) => {
      state.target = targets[target.value];
      show();
    });
    on('layer', 'change', ({ target }) => {
      state.layer = layers[target.value];
      show();
    });
    for (const name of ['view', 'sign']) {
      on(name, 'change', ({ target }) => {
        state[name] = target.value;
        display();
      });
    }
    for (const name of ['outlier', 'weight']) {
      on(name, 'input', ({ target }) => {
        state[name] = Number(target.value);
        display();
      });
    }
    on('reset', 'click', () => {
      Object.assign(state, DISPLAY);
      display();
    });
    on('controls', 'submit', (event) => event.preventDefault());
    addEventListener('hashchange', () => {
      restore();
      listSamples();
      show();
    });
  }

  async function start() {
    // A browser parses several small scripts faster than a large one: the data may be cut anywhere.
    const parts = document.querySelectorAll('script[type="application/json"]');
    data = JSON.parse(Array.from(parts, (part) => part.textContent).join(''));
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
    if (matchMedia('(max-width: 900px)').matches) {
      for (const details of document.querySelectorAll('.group')) details.open = false;
    }
    if (samples.length) {
      listen();
      $('filter-row').hidden = samples.length <= 20;
      listSamples();
      $('controls').hidden = false;
      $('explained').hidden = false;
      await show();
      $('status').hidden = true;
    } else {
      $('status').textContent = 'This report has no samples.';
    }
    root.dataset.ready = 'true';
    performance.mark('ready');
  }

  start().catch((error) => {
    $('status').textContent = `This report cannot be shown: ${error.message}`;
    throw error;
  });
})();
