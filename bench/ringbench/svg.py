# SPDX-License-Identifier: Apache-2.0
"""Draws charts as SVG elements for an HTML page. The page's CSS gives the colours of text and lines."""

import math
from html import escape

COLOURS = {
    "ringkit": "#1f6feb", "ringkit-epoll": "#7fb3ff", "rootlesskit": "#e0781a",
    "rootlesskit-slirp": "#c9a27a", "socat": "#9b59b6", "pasta": "#2e9e5b", "direct": "#8a8f98",
    # Drivers have the colour of the program that carries the bytes.
    "net-slirp4netns": "#1f6feb", "net-pasta": "#2e9e5b", "net-lxc-user-nic": "#16a085",
    "net-vdeplug_slirp": "#b7950b", "net-vpnkit": "#c0392b", "net-rootlesskit": "#e0781a",
    "port-slirp4netns": "#7fb3ff", "port-socat": "#9b59b6", "port-implicit": "#2e9e5b",
}
_SPARE = ("#c0392b", "#16a085", "#b7950b")


def colour(name):
    return COLOURS.get(name) or _SPARE[sum(name.encode()) % len(_SPARE)]


def _text(x, y, text, anchor="start", css="", extra=""):
    css = f' class="{css}"' if css else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{css}{extra}>{escape(text)}</text>'


def _svg(width, height, parts, label):
    return (f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
            f'aria-label="{escape(label, quote=True)}">' + "".join(parts) + "</svg>")


def number(value):
    """A short figure for an axis or a bar."""
    size = abs(value)
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            scaled = value / (1e3 if unit == "k" else limit)
            digits = 0 if abs(scaled) >= 100 or scaled == int(scaled) else 1
            return f"{scaled:.{digits}f}{unit}"
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.1 else f"{value:.3g}"


def bars(rows, label):
    """Horizontal bars. rows: [(name, text, stat or None, note)], where stats.summary() made stat.

    A bar is the median. The whisker covers the middle half of the samples, and the dots are the extremes."""
    left, width, right, step = 150, 210, 70, 22
    top = max((stat["max"] for _, _, stat, _ in rows if stat), default=0) or 1
    parts = []
    for i, (name, text, stat, note) in enumerate(rows):
        y = i * step + 4
        parts.append(_text(left - 8, y + 12, text, "end"))
        if not stat:
            parts.append(_text(left + 2, y + 12, note, css="faint"))
            continue
        scale = width / top
        length = max(stat["median"] * scale, 0)
        title = (f"{text}: median {number(stat['median'])}, middle half {number(stat['low'])} to "
                 f"{number(stat['high'])}, all {number(stat['min'])} to {number(stat['max'])}, "
                 f"{stat['count']} samples")
        parts.append(f'<g><title>{escape(title)}</title><rect x="{left}" y="{y}" '
                     f'width="{max(length, 1):.1f}" height="15" rx="2" fill="{colour(name)}"/>')
        if stat["count"] > 1:
            low, high = left + stat["low"] * scale, left + stat["high"] * scale
            middle = y + 7.5
            parts.append(f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}'
                         f'M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8"/>')
            parts += [f'<circle class="dot" cx="{left + stat[end] * scale:.1f}" cy="{middle}" '
                      'r="1.6"/>' for end in ("min", "max")]
        at = left + max(length, stat["max"] * scale if stat["count"] > 1 else 0) + 6
        parts.append(_text(at, y + 12, number(stat["median"]), css="value") + "</g>")
    return _svg(left + width + right, len(rows) * step + 6, parts, label)


def _log_ticks(low, high):
    ticks = []
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        ticks += [m * 10 ** power for m in (1, 2, 5) if low <= m * 10 ** power <= high]
    if len(ticks) > 8:
        ticks = [t for t in ticks if math.isclose(math.log10(t) % 1, 0, abs_tol=1e-9)
                 or math.isclose(math.log10(t) % 1, 1, abs_tol=1e-9)]
    return ticks


def _linear_ticks(high):
    raw = high / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    return [i * step for i in range(int(high / step) + 1)]


class _Scale:
    """Maps values to vertical positions."""

    def __init__(self, values, log, top, bottom):
        self.top, self.bottom = top, bottom
        self.log = log and min(values) > 0
        if self.log:
            self.low, self.high = min(values) / 1.15, max(values) * 1.15
            self.ticks = _log_ticks(self.low, self.high)
        else:
            self.low, self.high = 0.0, max(values) * 1.08 or 1.0
            self.ticks = _linear_ticks(self.high)

    def y(self, value):
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.bottom - share * (self.bottom - self.top)


def _spread_labels(ends, gap=13.0, bottom=1e9):
    """Moves the labels at the right end of lines apart, so that none covers another.

    ends: [(y, ...)]. Returns the same, with new y, sorted by y."""
    placed = []
    for end in sorted(ends):
        y = end[0] if not placed else max(end[0], placed[-1][0] + gap)
        placed.append((y, *end[1:]))
    over = placed[-1][0] - bottom if placed else 0
    return [(y - max(over, 0), *rest) for y, *rest in placed]


def lines(ticks, series, label, log=False, x_title="", y_title=""):
    """A line for each series. The x positions are evenly spaced.

    ticks: names of the positions. series: [(name, text, {position: (median, low, high)})]."""
    left, right, top, bottom, width = 52, 140, 24, 250, 380
    values = [v for _, _, points in series for point in points.values() for v in point]
    if not values:
        return ""
    scale = _Scale(values, log, top, bottom)
    xs = [left + (i + 0.5) * width / len(ticks) for i in range(len(ticks))]
    parts = [_text(left - 44, 12, y_title, css="faint")]
    for tick in scale.ticks:
        y = scale.y(tick)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{left + width}"/>'
                     + _text(left - 6, y + 4, number(tick), "end", "faint"))
    parts += [_text(x, bottom + 17, name, "middle", "faint") for x, name in zip(xs, ticks)]
    parts.append(_text(left + width / 2, bottom + 36, x_title, "middle", "faint"))
    ends = []
    for name, text, points in series:
        line, area = [], []
        for i, tick in enumerate(ticks):
            if tick in points:
                median, low, high = points[tick]
                line.append((xs[i], scale.y(median)))
                area.append((xs[i], scale.y(low), scale.y(high)))
        if not line:
            continue
        tint = colour(name)
        outline = [f"{x:.1f} {high:.1f}" for x, _, high in area]
        outline += [f"{x:.1f} {low:.1f}" for x, low, _ in reversed(area)]
        parts.append(f'<path d="M{"L".join(outline)}Z" fill="{tint}" opacity="0.15"/>')
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in line)
        parts.append(f'<path d="M{path}" fill="none" stroke="{tint}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{tint}"/>' for x, y in line]
        ends.append((line[-1][1], line[-1][0], text, tint))
    for y, x, text, tint in _spread_labels(ends, bottom=bottom):
        parts.append(_text(left + width + 4, y + 4, text, extra=f' style="fill:{tint}"'))
    return _svg(left + width + right, bottom + 44, parts, label)
