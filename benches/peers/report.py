"""The table that is printed and the file that is kept.

The file is JSON, written whole after each row; README.md beside this file says what it holds.
"""

import datetime
import json
import os

SCHEMA = "ridgepoint-peers/1"
OURS = "ridgepoint"


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


class Results:
    """The file of a run."""

    def __init__(self, path, head):
        self.path = path
        self.data = {
            "schema": SCHEMA, "started": now(), "finished": None, "interrupted": False, **head,
            "rows": [],
        }

    def row(self, case, floor_s, copies):
        row = {
            "op": case.op, "phase": case.phase, "label": case.label, "shape": case.shape(),
            "floor": {"bytes": case.bytes(), "flops": case.flops(), "time_s": floor_s},
            "copies": copies, "cells": {},
        }
        self.data["rows"].append(row)
        return row

    def save(self):
        """Puts the file in place at once, so that a reader, or an end in between, finds a whole
        one."""
        if self.path is None:
            return
        beside = f"{self.path}.part"
        with open(beside, "w", encoding="utf-8") as file:
            json.dump(self.data, file, indent=1)
            file.write("\n")
        os.replace(beside, self.path)


def share(cell, floor_s):
    """The floor as a part of the time; None where either is unknown."""
    time = cell.get("time_s")
    return floor_s / time if time and floor_s is not None else None


def micro(seconds):
    return "" if seconds is None else f"{seconds * 1e6:.2f}"


def percent(part):
    return "" if part is None else f"{100 * part:.0f} %"


def cell_text(cell, floor_s, is_ours):
    """time, share of the floor, and for a peer the ratio; a word where there is no time."""
    if cell is None:
        return ""
    if cell["status"] != "ok":
        return cell["status"]
    if cell.get("time_s") is None:
        return f"ok {cell['error']:.1e}"
    parts = [micro(cell["time_s"]), percent(share(cell, floor_s))]
    if not is_ours:
        parts.append(f"{cell['ratio']:.2f}x")
    return " ".join(part for part in parts if part)


class Table:
    """Prints a line for each row as it is done, under a heading for each operation."""

    WIDTH = 20

    def __init__(self, write=print):
        self.write, self.heading = write, None

    def row(self, row, names):
        """`names`: the contenders of the operation that can be called here."""
        floor_s = row["floor"]["time_s"]
        if (row["op"], names) != self.heading:
            self.heading = (row["op"], names)
            columns = "".join(f"{name:>{self.WIDTH}}" for name in names)
            self.write(f"\n{row['op']:<44}{'floor us':>10}{columns}")
        cells = "".join(
            f"{cell_text(row['cells'].get(name), floor_s, name == OURS):>{self.WIDTH}}"
            for name in names
        )
        label = f"{row['label']} ({row['phase']})" if "gemm" in row["op"] else row["label"]
        self.write(f"{label:<44}{micro(floor_s):>10}{cells}")
        for name, cell in row["cells"].items():
            if cell["status"] != "ok":
                self.write(f"    {name}: {cell['reason']}")


LEGEND = (
    "us of a launch (median), share of the floor, and how many times as long as ours a peer takes: "
    "above 1, ours is faster.\nok and a number: right, the largest relative error of a row; there "
    "are no times here."
)
