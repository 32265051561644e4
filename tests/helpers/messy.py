"""A table as people have it: text, categories, dates, true and false, missing values in many spellings."""

from pathlib import Path

import numpy as np

NUM_ROWS = 400
HEADER = "when, city, size, rooms, sold, colour, note, label"


def rows(num_rows: int = NUM_ROWS, seed: int = 0) -> list[str]:
    """Lines of CSV with a space after each comma; size decides the label, and the city."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(num_rows):
        size = rng.normal()
        city = rng.choice(["Bern", "Basel", "?"]) if size > 0 else rng.choice(["Genf", "Lausanne"])
        when = f"2024-{rng.integers(1, 13):02}-{rng.integers(1, 29):02}"
        cells = [
            when if rng.random() > 0.1 else "?",
            str(city),
            f"{size:.3f}" if rng.random() > 0.1 else "",
            str(rng.integers(1, 6)),
            str(rng.choice(["true", "false"])),
            str(rng.choice(["red", "blue", "green, dark"])),
            "always the same",
            "big" if size > 0 else "small",
        ]
        lines.append(", ".join(f'"{cell}"' if "," in cell else cell for cell in cells))
    return lines


def write_messy(path: Path, num_rows: int = NUM_ROWS, seed: int = 0, extra: list[str] | None = None) -> Path:
    """The table as a CSV file.

    Args:
        path: of the file.
        num_rows: that are generated.
        seed: of them.
        extra: further lines.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEADER, *rows(num_rows, seed), *(extra or [])]) + "\n")
    return path
