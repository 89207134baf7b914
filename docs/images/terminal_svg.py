#!/usr/bin/env python3
"""A terminal's text as a picture: reads lines from standard input and writes an SVG to standard output.

    halftone train ... 2>&1 | docs/images/terminal_svg.py > docs/images/train.svg
"""
import sys
from html import escape

lines = [line.rstrip("\n") for line in sys.stdin]
width, height = 24 + 7.25 * max(map(len, lines)), 46 + 17 * len(lines)
print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">')
print(f'<rect width="{width:.0f}" height="{height:.0f}" rx="8" fill="#1c2128"/>')
for i, colour in enumerate(("#f47067", "#daaa3f", "#57ab5a")):
    print(f'<circle cx="{18 + 18 * i}" cy="16" r="5.5" fill="{colour}"/>')
print('<g font-family="ui-monospace, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="12" fill="#cdd9e5" xml:space="preserve">')
for i, line in enumerate(lines):
    print(f'<text x="12" y="{46 + 17 * i}">{escape(line)}</text>')
print("</g>\n</svg>")
