"""A picture as an SVG file: nothing to click on, as much open as there is room for, light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from unicodedata import east_asian_width
from xml.sax.saxutils import escape

from prototxt.names import shown
from verify.picture.dot import FILL
from verify.picture.records import DrawnLayer, DrawnNet
from verify.picture.still import HEAD, LABEL, Still, still
from verify.picture.tree import DrawnPart, title_of

EDGE = 16
_STYLE = """\
text { font: 11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1a2028; }
.b { font-size: 12px; font-weight: 600; } .m { font: 10.5px ui-monospace, Menlo, Consolas, monospace; fill: #5b6673; }
.s { font-size: 10px; fill: #5b6673; text-anchor: middle; } .o { fill: #1a2028; font-weight: 600; }
.page { fill: #f6f7f9; } .frame { fill: #7f8ca0; fill-opacity: .09; stroke: #7d8794; }
.stack { fill: #fff; stroke: #7d8794; }
.box { stroke: #7d8794; } .wire { fill: none; stroke: #7d8794; stroke-width: 1.5; } .tips { fill: #7d8794; }
@media (prefers-color-scheme: dark) {
  .page { fill: #11151a; } .frame text, .s, .out { fill: #9aa6b3; } .o { fill: #e6eaef; } .head { fill: #e6eaef; }
}
"""


def format_svg(net: DrawnNet) -> str:
    """The file's text; names in it are text, and what does not print in them stands as its escape."""
    _, drawn = still(net)
    width, height = round(drawn.width + 2 * EDGE), round(drawn.height + 2 * EDGE)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    body = [
        f"<title>{_text(net.name)}</title><style>{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/><g transform="translate({EDGE} {EDGE - HEAD})">',
        *_frames(drawn, net),
        *(f'<path class="wire" d="{line}"/><path class="tips" d="{tips}"/>' for line, tips in drawn.wires),
        *_boxes(drawn, net),
        *_labels(drawn, net),
        "</g>",
    ]
    return "\n".join([head, *body, "</svg>"]) + "\n"


def _frames(drawn: Still, net: DrawnNet) -> Iterator[str]:
    for part, x, y, width, height in drawn.boxes[1:]:
        if part.number in drawn.opened:
            title = _cut(_titled(part, net.layers), width - 20, 7)
            yield f'<rect class="frame" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="9"/>'
            yield f'<text class="b head" x="{x + 10:g}" y="{y + 17:g}">{_text(title)}</text>'


def _boxes(drawn: Still, net: DrawnNet) -> Iterator[str]:
    for part, x, y, width, height in drawn.boxes:
        if part.number in drawn.opened:
            continue
        first = net.layers[part.layers[0]]
        sizes = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8"'
        if part.kind == "run":
            yield f'<rect class="stack" x="{x + 4:g}" y="{y + 4:g}" width="{width:g}" height="{height:g}" rx="8"/>'
        yield f'<rect class="box" fill="{FILL["other" if part.inside else first.family]}" {sizes}/>'
        for number, (line, kind, room) in enumerate(_lines_of(part, net.layers)):
            text = _text(_cut(line, width - 20, room))
            yield f'<text class="{kind}" x="{x + 11:g}" y="{y + 18 + 15 * number:g}">{text}</text>'


def _lines_of(part: DrawnPart, layers: Sequence[DrawnLayer]) -> Iterator[tuple[str, str, float]]:
    """What a closed box says, with class and about the width of a character in pixels."""
    first, *others = (layers[i] for i in part.layers)
    if part.inside:
        yield _titled(part, layers), "b", 7.2
        yield f"{len(part.layers)} layers", "m", 6.4
        return
    yield f"{first.type} {first.hint}".rstrip(), "b", 7.2
    yield first.name, "m", 6.4
    if others:
        yield "+ " + ", ".join(layer.type for layer in others), "t", 6


def _labels(drawn: Still, net: DrawnNet) -> Iterator[str]:
    outputs = set(net.outputs)
    for x, y, tops in drawn.labels:
        text = _cut(shapes_text([net.layers[layer].tops[top][1] for layer, top in tops]), 190, 6.2)
        output = " o" if outputs.intersection(tops) else ""
        if text:
            yield f'<text class="s{output}" x="{x:g}" y="{y + LABEL - 7:g}">{_text(text)}</text>'


def shapes_text(shapes: Sequence[str]) -> str:
    """`1×64×56×56`, `3 blobs of 1×64×56×56`, `3 blobs` where they differ."""
    same = shapes[0] if len({*shapes}) == 1 else ""
    if len(shapes) < 2:
        return same
    return f"{len(shapes)} blobs of {same}" if same else f"{len(shapes)} blobs"


def _titled(part: DrawnPart, layers: Sequence[DrawnLayer]) -> str:
    return title_of(part, layers) + (f" × {part.times}" if part.times else "")


def _cut(text: str, room: float, each: float) -> str:
    """A text without what there is no room for at its end."""
    text = shown(text)
    left = room
    for place, character in enumerate(text):
        left -= each * (2 if east_asian_width(character) in "WF" else 1)
        if left < 0:
            return text[: max(1, place - 1)] + "…"
    return text


def _text(text: str) -> str:
    return escape(shown(text))
