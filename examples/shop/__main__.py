"""``python -m examples.shop``: the shop at work for a minute, and the proof that it kept its promises."""

from __future__ import annotations

from examples.shop.demo.command import main

if __name__ == "__main__":
    main()
