# SPDX-License-Identifier: Apache-2.0
"""Flame graphs: counts call stacks, and draws them as SVG.

A stack is a tuple of frames, from the outermost caller to the running function. A frame is
(name, kind). kind is "thread", "user" or "kernel", and decides the colour.
"""

import re
from collections import Counter
from html import escape

_WIDTH, _ROW, _TEXT_PX = 1180, 17, 6.6
_NARROWEST_PX = 0.4
# Hue and saturation; the lightness varies with the name, so that neighbours can be told apart.
_TINT = {"thread": (215, 12), "user": (140, 42), "kernel": (28, 78)}

_HEADER = re.compile(r"^(\S.*?)\s+(\d+)\s*$")
_FRAME = re.compile(r"^\s+([0-9a-f]+)\s+(.*?)\s+\((.*)\)\s*$")


def parse(text):
    """A Counter of the stacks in the output of `perf script -F comm,tid,ip,sym,dso`."""
    stacks, thread, frames = Counter(), None, []
    for line in text.splitlines() + [""]:
        if not line.strip():
            if thread is not None:
                stacks[tuple([(thread, "thread")] + frames[::-1])] += 1
            thread, frames = None, []
            continue
        found = _FRAME.match(line)
        if found and thread is not None:
            _, symbol, dso = found.groups()
            kernel = dso.endswith(".ko") or (dso.startswith("[") and dso != "[unknown]")
            name = symbol if symbol != "[unknown]" else f"[{dso.rpartition('/')[2].strip('[]')}]"
            # Unwinding without frame pointers ends with many unknown frames, of which one is kept.
            if not (frames and symbol == "[unknown]" and frames[-1][0] == name):
                frames.append((name, "kernel" if kernel else "user"))
            continue
        found = _HEADER.match(line)
        if found:
            thread = found.group(1)
    return stacks


def hottest(stacks):
    """[(function, kind, samples in it, samples in it or below)], the busiest first."""
    own, below, kinds = Counter(), Counter(), {}
    for stack, count in stacks.items():
        own[stack[-1][0]] += count
        kinds.update(stack)
        for name in {name for name, kind in stack if kind != "thread"}:
            below[name] += count
    return [(name, kinds[name], count, below[name]) for name, count in own.most_common()]


def _tree(stacks):
    """Nested {frame: [samples, children]}."""
    root = {}
    for stack, count in stacks.items():
        level = root
        for frame in stack:
            node = level.setdefault(frame, [0, {}])
            node[0] += count
            level = node[1]
    return root


def _colour(name, kind):
    hue, saturation = _TINT[kind]
    lightness = 58 + sum(name.encode()) % 20
    return f"hsl({hue} {saturation}% {lightness}%)"


def _depth(tree):
    return 1 + max((_depth(node[1]) for node in tree.values()), default=0)


def _draw(tree, left, depth, height, scale, total, parts):
    for (name, kind), (count, children) in sorted(tree.items()):
        width = count * scale
        if width >= _NARROWEST_PX:
            y = height - (depth + 1) * _ROW
            title = f"{name} ({kind}): {count:,} samples, {100 * count / total:.1f} %"
            letters = int((width - 4) / _TEXT_PX)
            shown = name if len(name) <= letters else name[:letters - 1] + "…"
            label = (f'<text x="{left + 3:.1f}" y="{y + 12}">{escape(shown)}</text>'
                     if letters >= 3 else "")
            parts.append(f'<g><title>{escape(title)}</title><rect x="{left:.1f}" y="{y}" '
                         f'width="{max(width - 0.3, 0.3):.1f}" height="{_ROW - 1}" rx="1" '
                         f'fill="{_colour(name, kind)}"/>{label}</g>')
            _draw(children, left, depth + 1, height, scale, total, parts)
        left += width


def svg(stacks, title):
    """The graph. Callers are below the functions that they call. A width is a share of the samples."""
    total = sum(stacks.values())
    tree = _tree(stacks)
    height = (_depth(tree) - 1) * _ROW + 30
    parts = []
    if total:
        _draw(tree, 10, 0, height - 6, _WIDTH / total, total, parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH + 20} {height}" '
            f'width="{_WIDTH + 20}" height="{height}">'
            "<style>text{font:11px monospace;fill:#111}text.t{font:13px sans-serif}"
            "g:hover>rect{stroke:#000;stroke-width:1}</style>"
            f'<rect width="100%" height="100%" fill="#fcfcf9"/>'
            f'<text class="t" x="10" y="15">{escape(title)} · {total:,} samples</text>'
            f'{"".join(parts)}</svg>')
