"""One row: every contender of a case is checked, and those that are right are timed."""

import reference
import timing
from report import OURS, share


class DeviceLost(RuntimeError):
    """The device answers nothing any more: what would be measured next means nothing."""


def one_line(error):
    text = " ".join(str(error).split()) or type(error).__name__
    return f"{type(error).__name__}: {text[:300]}"


def attempt(device, work):
    """What `work` gives and None, or None and why it failed. A device that is gone after a failure
    ends the run."""
    try:
        return work(), None
    except Exception as error:  # A peer may raise anything; it becomes the text of its cell.
        reason = one_line(error)
    try:
        device.synchronize()
    except Exception as error:
        raise DeviceLost(f"{reason}; then {one_line(error)}") from error
    return None, reason


def check(device, prepared, rows, expected):
    """The worst error of the first copy's result and of the last's."""
    worst = 0.0
    for launch in {0: prepared.launches[0], 1: prepared.launches[-1]}.values():
        found = device.f64(prepared.view(launch()), rows)
        error = reference.worst_row(found, expected, device.xp)
        worst = error if not reference.is_right(error) else max(worst, error)
    return worst


def status_of(reason):
    """The word for a failure. That a case does not fit into memory is no fault of anyone's."""
    return "no memory" if reason.startswith("OutOfMemoryError") else "failed"


class Entry:
    """A contender of a row: its cell of the table, and what it needs to be timed."""

    def __init__(self, contender):
        self.contender, self.cell = contender, {}
        self.prepared = self.recording = None

    def enter(self, device, inputs, copies, rows, expected):
        """Prepares, checks and records. True if it can be timed."""
        reason = self.contender.takes(inputs.case)
        if reason:
            self.cell.update(status="unsupported", reason=reason)
            return False

        def work():
            self.prepared = self.contender.prepare(inputs, copies)
            error = check(device, self.prepared, rows, expected)
            # Only what is right is timed.
            if device.has_times and reference.is_right(error):
                self.recording = device.record(self.prepared)
            return error

        error, reason = attempt(device, work)
        if reason:
            self.cell.update(status=status_of(reason), reason=reason)
        elif not reference.is_right(error):
            reason = f"error {error:.3g} of a row, at most {reference.TOLERANCE:g}"
            # NaN is no JSON.
            self.cell.update(status="wrong", reason=reason, error=error if error == error else None)
        else:
            self.cell.update(status="ok", error=error)
        return self.recording is not None


def fill(cell, pairs, cold_s, floor_s):
    cell.update(timing.summary(pairs), cold_s=cold_s)
    cell["share"] = share(cell, floor_s)


def measure_row(device, ours, peers, inputs, copies, row, rounds):
    """Fills `row["cells"]`. `peers` are those of the operation that can be called here."""
    rows, expected = reference.expected(device, inputs)
    floor_s = row["floor"]["time_s"]
    mine = Entry(ours)
    row["cells"][OURS] = mine.cell
    can_time = mine.enter(device, inputs, copies, rows, expected)
    if can_time:
        cold_s = mine.recording.cold()
        fill(mine.cell, timing.alone(mine.recording, rounds), cold_s, floor_s)
    all_mine = []
    for peer in peers:
        entry = Entry(peer)
        row["cells"][peer.name] = entry.cell
        if entry.enter(device, inputs, copies, rows, expected) and can_time:

            def work(entry=entry):
                pairs = timing.alternate(mine.recording, entry.recording, rounds)
                fill(entry.cell, pairs[1], entry.recording.cold(), floor_s)
                entry.cell["ratio"] = timing.ratio(*pairs)
                all_mine.extend(pairs[0])

            _, reason = attempt(device, work)
            if reason:
                entry.cell.update(status=status_of(reason), reason=reason)
        # Its memory is there for the next one.
        entry.prepared = entry.recording = None
        device.trim()
    if all_mine:
        fill(mine.cell, all_mine, cold_s, floor_s)
