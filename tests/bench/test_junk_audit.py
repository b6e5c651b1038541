"""The audit of the memory of facts, in short."""

from __future__ import annotations

from pathlib import Path

from bench.junk_audit import audit


async def test_days_of_chats_leave_no_recalled_text_no_doubles_and_contradictions_that_can_be_looked_up(
    tmp_path: Path,
) -> None:
    counts = await audit(tmp_path / "store", days=4, turns=10, wrong=0.0)
    assert counts.current > 20
    assert (counts.recalled, counts.exact, counts.near, counts.foreign) == (0, 0, 0, 0)
    assert (counts.lost, counts.hidden) == (0, 0)
    assert counts.superseded == counts.auditable > 0


async def test_a_judge_whose_every_verdict_is_wrong_is_counted(tmp_path: Path) -> None:
    counts = await audit(tmp_path / "store", days=3, turns=8, wrong=100.0)
    assert counts.wrong == counts.verdicts > 0
    assert counts.hidden > 0
