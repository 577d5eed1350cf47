"""Families of allocators: which belong together in one panel of a figure, and how a curve of a panel is drawn.

A family is told by the first name of the spec (`slub` of `slub:profile=linux-6.18/binary`). Object strategies as they
are, on the binary buddy, are one family, so that they are compared with each other; with parameters, or on another page
allocator, they are another. Unknown names, such as plugins, are a family of their own at the end, so a new allocator is
drawn with no change here.
"""

import re

import schema

FAMILIES = (
    ("binary buddy", ("binary",)),
    ("Fibonacci buddy", ("fibonacci",)),
    ("weighted buddy", ("weighted", "weights")),
    ("k-ary, dual and tertiary buddy", ("kary", "dual", "tertiary")),
    ("first and best fit", ("first_fit", "best_fit", "firstfit", "bestfit", "fit")),
    ("slab strategies", ("slab", "slub", "slob", "solaris")),
    ("slab strategies, varied", ()),
)
STRATEGIES, VARIED = (title for title, _ in FAMILIES[-2:])
OTHER = "other allocators"

# Okabe & Ito 2008, "Color Universal Design": told apart with every common colour blindness. Black is the real kernel's;
# yellow is left out of lines (too pale on white paper).
BLACK = "#000000"
VERMILION, BLUE, GREEN, ORANGE, PURPLE, SKY, YELLOW = (
    "#D55E00", "#0072B2", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#F0E442")
LINE_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
# Four dashes and six colours give twelve pairs before one repeats; the dash alone serves black-and-white print.
DASHES = ((0, ()), (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 2, 1.2, 1.2, 1.2, 2)))
PANEL_LINES = len(LINE_COLOURS)  # a family with more is split over panels: no panel needs a colour twice

WASTE_COLOURS = {
    "class_rounding": SKY,
    "slab_tail": YELLOW,
    "management": PURPLE,
    "free_slots": GREEN,
    "cpu_cached": ORANGE,
    "buddy_rounding": BLUE,
    "external": VERMILION,
}


def base_name(spec):
    return re.split(r"[:/]", spec, maxsplit=1)[0]


def family_of(spec):
    name = base_name(spec)
    family = next((title for title, members in FAMILIES if name in members), OTHER)
    return VARIED if family == STRATEGIES and spec not in (name, f"{name}/binary") else family


def group(specs):
    """[(title, specs)]: families in the order above, at most PANEL_LINES specs each; recorded and nop are not grouped."""
    panels = []
    for title in [title for title, _ in FAMILIES] + [OTHER]:
        members = [spec for spec in specs if family_of(spec) == title and spec not in (schema.RECORDED, schema.NOP)]
        count = max(1, -(-len(members) // PANEL_LINES))
        each = max(1, -(-len(members) // count))  # panels of like size
        parts = [members[i:i + each] for i in range(0, len(members), each)]
        for number, part in enumerate(parts, start=1):
            panels.append((title if len(parts) == 1 else f"{title} ({number} of {len(parts)})", part))
    return panels


def line_style(index):
    """Colour and dash of the index-th curve of a panel."""
    return {"color": LINE_COLOURS[index % len(LINE_COLOURS)], "linestyle": DASHES[index % len(DASHES)], "linewidth": 1.3}


RECORDED_STYLE = {"color": BLACK, "linestyle": "-", "linewidth": 2.2}
NOTE_COLOUR = "#404040"
CONTEXT_STYLE = {"color": "#D0D0D0", "linestyle": "-", "linewidth": 0.6}


def short(spec, width):
    """The spec broken into lines of about width characters, at the marks of the spec grammar."""
    lines = [""]
    for part in re.findall(r"[^:/,+]*[:/,+]?", spec):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
