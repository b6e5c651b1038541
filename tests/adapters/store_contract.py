"""What every store must do, whatever it is made of. A test module with a fixture `store` derives a class of its own:

    class TestMyStore(StoreContract):
        ...

The store may be shared by the tests, and hold other threads' rows: each test takes threads of its own.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activities.ports import Store
from domain import ids
from domain.delegation import Child, Parent
from domain.errors import InputRefusedError
from domain.listing import CallFilter, ThreadFilter
from domain.messages import Message, Page, ThreadRecord, ToolCall, Usage
from domain.prompts import read_prompt
from domain.steps import closing_fence, fence
from tests.strategies import any_text, prompt_fields

END = ids.WAITING_SEQ

shared_store = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        # One test, run by the class of each store: an example that one store fails may well pass on another, and then
        # hypothesis says so when it replays it.
        HealthCheck.differing_executors,
    ],
)


def new_thread() -> str:
    return f"t-{uuid4().hex}"


def row(thread: str, seq: int = 0, **fields: Any) -> Message:
    prompt_id = f"p{uuid4().hex}"
    known = {
        "id": ids.message_id(thread, prompt_id, "prompt"),
        "prompt_id": prompt_id,
        "slot": "prompt",
        "role": "user",
    }
    return Message.model_validate(known | {"thread": thread, "seq": seq} | fields)


async def everything(store: Store, thread: str, *, limit: int, newest_first: bool) -> list[str]:
    """The ids of all rows, page by page."""
    found: list[str] = []
    cursor: str | None = None
    for _ in range(1_000):
        page: Page[Message] = await store.page(thread, cursor=cursor, limit=limit, newest_first=newest_first)
        assert len(page.items) <= limit
        found += [message.id for message in page.items]
        cursor = page.next
        if cursor is None:
            return found
    raise AssertionError("the pages have no end")


async def threads_found(store: Store, where: ThreadFilter, limit: int = 10) -> list[str]:
    """All threads, page by page."""
    found: list[str] = []
    cursor: str | None = None
    for _ in range(100):
        page = await store.page_threads(where, cursor=cursor, limit=limit)
        assert len(page.items) <= limit
        found += [record.thread for record in page.items]
        cursor = page.next
        if cursor is None:
            return found
    raise AssertionError("the pages have no end")


def cursor_of(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


BAD_CURSORS = [
    "x",
    "!!!",
    "é",
    "\ud83d",
    cursor_of([]),
    cursor_of({}),
    cursor_of(5),
    cursor_of(["no number"]),
    cursor_of([[1]]),
    cursor_of([None]),
    cursor_of([float("nan")]),
    cursor_of([float("inf")]),
    cursor_of([10**400]),
    base64.urlsafe_b64encode(b"[" * 100_000).decode(),
    base64.urlsafe_b64encode(b"\xff\xfe").decode(),
]


class StoreContract:
    """One class for all stores."""

    # --- one writer per record

    async def test_an_insert_never_overwrites(self, store: Store) -> None:
        first = row(new_thread(), text="first")
        fresh = row(first.thread, text="fresh")
        await store.insert([first])
        await store.insert([first.model_copy(update={"text": "second", "status": "failed"}), fresh])
        assert await store.get([first.id, fresh.id]) == [first, fresh]

    async def test_rows_come_in_the_order_asked_for_and_missing_ones_are_left_out(self, store: Store) -> None:
        rows = [row(new_thread(), text=str(number)) for number in range(5)]
        await store.insert(rows)
        asked = [rows[3].id, ids.message_id("no", "such", "row"), rows[0].id, rows[4].id]
        assert [found.text for found in await store.get(asked)] == ["3", "0", "4"]

    async def test_asking_for_nothing_gives_nothing(self, store: Store) -> None:
        await store.insert([])
        assert await store.get([]) == []

    @pytest.mark.parametrize(
        ("held", "mine", "wins"),
        [
            (fence(1, 0, 1), fence(1, 0, 2), True),
            (fence(1, 0, 1), fence(1, 0, 1), True),
            (fence(1, 0, 2), fence(1, 0, 1), False),
            (fence(1, 1, 1), fence(1, 0, 999_999), False),
            (fence(2, 0, 1), closing_fence(1), False),
            (closing_fence(1), fence(2, 0, 1), True),
            (fence(900_000, 0, 2), fence(900_000, 0, 1), False),
        ],
    )
    async def test_a_row_is_changed_unless_a_later_attempt_holds_it(
        self, store: Store, held: int, mine: int, wins: bool
    ) -> None:
        before = row(new_thread(), attempt=held, text="before")
        await store.insert([before])
        seen = await store.amend(before.id, mine, {"text": "mine"})
        assert seen is not None
        assert (seen.text, seen.attempt) == (("mine", mine) if wins else ("before", held))
        assert await store.get([before.id]) == [seen]

    async def test_a_final_row_is_never_changed_again(self, store: Store) -> None:
        before = row(new_thread(), attempt=1)
        await store.insert([before])
        won = await store.amend(before.id, 1, {"status": "answered", "text": "won"})
        late = await store.amend(before.id, 9, {"status": "failed", "text": "late"})
        assert late == won
        assert won is not None
        assert won.final

    async def test_only_a_final_row_that_no_later_attempt_holds_is_opened_again(self, store: Store) -> None:
        ended = row(new_thread(), attempt=3, status="answered")
        await store.insert([ended])
        late = await store.reopen(ended.id, 2, {"status": "pending"})
        mine = await store.reopen(ended.id, 4, {"status": "pending", "branch": 1})
        twice = await store.reopen(ended.id, 5, {"status": "pending", "branch": 2})
        assert late == ended
        assert mine == twice == ended.model_copy(update={"status": "pending", "branch": 1, "attempt": 4})
        assert await store.reopen(row(new_thread()).id, 9, {"status": "pending"}) is None

    async def test_a_note_on_a_row_changes_nothing_else_of_it(self, store: Store) -> None:
        ended, missing = row(new_thread(), attempt=3, status="answered"), row(new_thread())
        await store.insert([ended])
        await store.annotate(ended.id, {"delivery": {"status": "delivered"}})
        await store.annotate(missing.id, {"delivery": {"status": "delivered"}})
        assert await store.get([ended.id, missing.id]) == [
            ended.model_copy(update={"delivery": {"status": "delivered"}})
        ]

    async def test_an_amendment_never_creates_a_row(self, store: Store) -> None:
        gone = row(new_thread())
        assert await store.amend(gone.id, 1, {"text": "back", "status": "complete"}) is None
        assert await store.get([gone.id]) == []
        assert (await store.page(gone.thread, cursor=None, limit=9, newest_first=True)).items == []

    async def test_an_amendment_changes_its_row_only(self, store: Store) -> None:
        thread = new_thread()
        rows = [row(thread, text=str(number)) for number in range(3)]
        await store.insert(rows)
        await store.amend(rows[1].id, 1, {"text": "changed"})
        assert [found.text for found in await store.get([r.id for r in rows])] == ["0", "changed", "2"]

    async def test_of_many_attempts_at_once_one_makes_the_row_final(self, store: Store) -> None:
        before = row(new_thread())
        await store.insert([before])
        changes = ({"status": "complete", "text": str(number)} for number in range(1, 21))
        seen = await asyncio.gather(*(store.amend(before.id, n, change) for n, change in enumerate(changes, start=1)))
        assert len({found.text for found in seen if found is not None}) == 1

    async def test_changes_go_into_every_kind_of_field(self, store: Store) -> None:
        before = row(new_thread(), role="assistant", slot="answer")
        await store.insert([before])
        changes = {
            "status": "complete",
            "text": "Hi",
            "turn": 4,
            "seq": ids.first_seq(4),
            "tool_calls": [ToolCall(call_id="c", name="n", arguments="{").model_dump()],
            "usage": Usage(prompt_tokens=1, completion_tokens=2).model_dump(),
            "raw": {"id": "x"},
            "result": {"plan": []},
            "updated_at": 12.5,
            "error": None,
        }
        seen = await store.amend(before.id, 3, changes)
        expected = Message.model_validate(before.model_dump() | changes | {"attempt": 3})
        assert seen == expected.model_copy(update={"raw": None})
        assert await store.get([before.id]) == [expected]

    # --- what is kept

    async def test_a_row_with_every_field_comes_back_whole(self, store: Store) -> None:
        whole = row(
            new_thread(),
            tenant="acme",
            owner="ada",
            turn=3,
            branch=1,
            step=2,
            status="failed",
            attempt=fence(3, 2, 1),
            text="Grüße \U0001f600 \x00 \u2028",
            tool_calls=[ToolCall(call_id="c", name="n", arguments='{"a": "\\u0000"}')],
            call_id="c",
            name="n",
            said=["s"],
            failures=1,
            blob={"ref": "r", "chars": 2**40},
            output='{"a": 1e400}',
            author="Ada",
            agent="poet",
            model="m",
            finish="stop",
            error="why",
            error_type="OutputInvalidError",
            reasoning="Hm. \x00",
            sources=[{"url": "https://example.com", "start_index": 2**70}],
            object={"a": [2**70, 1.123456789, None, {"b": "\x00"}]},
            repair={"error": "why", "text": "x"},
            usage=Usage(prompt_tokens=3, completion_tokens=2**40),
            index="done",
            place=3,
            tokens=12,
            digest="d",
            answer="a",
            refers_to="r",
            joined=["j"],
            joins="q",
            reopened_by="w",
            replaced_by="p",
            from_step=2,
            parts=[{"type": "text", "text": "x"}],
            options={"settings": {"temperature": 0.1}},
            reply_to={"url": "https://example.com"},
            delivery={"status": "delivered", "at": 1.123456789},
            waits="approval",
            arguments='{"a": "\\u0000"}',
            args_digest="d",
            deadline=1.123456789,
            decided_at=2.123456789,
            erased=True,
            decision={"decision": "deny", "by": "Ada"},
            handoff="poet",
            learn="due",
            learn_at=1.5,
            learn_tries=2,
            lesson={"facts": [{"text": "\x00"}]},
            child=Child(thread="sub-1", agent="poet", asked_at=1.123456789, options={"max_seconds": 1.5}),
            metadata={"a": [1, 1.5, None, True, {"b": "\x00"}]},
            mcp={"tools": [{"parameters": {"maximum": 1e300}}]},
            context={"tokens": {"recent": 2**40}, "recalled": [{"score": 0.123456789}]},
            raw={"id": "x"},
            result={"message_id": "m"},
            created_at=1_700_000_000.123456,
            updated_at=1.0,
        )
        assert whole.model_fields_set == type(whole).model_fields.keys(), "a new field must be kept too"
        await store.insert([whole])
        assert await store.get([whole.id]) == [whole]

    async def test_fields_of_a_newer_release_are_kept(self, store: Store) -> None:
        newer = row(new_thread(), mood="new")
        await store.insert([newer])
        await store.amend(newer.id, 1, {"text": "changed"})
        assert (await store.get([newer.id]))[0].model_dump()["mood"] == "new"

    async def test_a_megabyte_of_text_is_kept(self, store: Store) -> None:
        large = row(new_thread(), text="Ä\x00" * 350_000)
        await store.insert([large])
        assert (await store.get([large.id]))[0].text == large.text

    async def test_a_providers_object_is_kept_however_it_looks(self, store: Store) -> None:
        """Deeper than a payload may be nested, with numbers that it cannot hold."""
        raw: dict[str, Any] = {"big": 10**30, "": {"a.b[0]": 2.4358523317271123e48}, "nul": "\x00"}
        for _ in range(150):
            raw = {"in": [raw]}
        answer = row(new_thread())
        await store.insert([answer])
        await store.amend(answer.id, 1, {"raw": raw, "status": "complete"})
        assert (await store.get([answer.id]))[0].raw == raw

    async def test_only_asking_for_a_row_itself_gives_what_the_provider_and_the_servers_said(
        self, store: Store
    ) -> None:
        """It is large, and no list needs it."""
        thread = new_thread()
        provided = row(thread, status="complete", raw={"id": "x"}, mcp={"a": 1}, context={"b": 2}, result={})
        await store.insert([provided])
        listed = (await store.page(thread, cursor=None, limit=9, newest_first=True)).items
        assert listed == [provided.model_copy(update={"raw": None, "mcp": None, "context": None})]
        [of_context] = await store.history(thread, 9, 9)
        assert (of_context.text, of_context.raw) == (provided.text, None)
        assert await store.amend(provided.id, 1, {}) == listed[0]
        assert await store.get([provided.id]) == [provided]

    @given(text=any_text.map(lambda text: text.encode("utf-16", "replace").decode("utf-16", "replace")))
    @shared_store
    async def test_any_text_is_kept(self, store: Store, text: str) -> None:
        written = row(new_thread(), text=text, author=text or None)
        await store.insert([written])
        assert await store.get([written.id]) == [written]

    @given(fields=prompt_fields)
    @shared_store
    async def test_any_accepted_prompt_is_kept(self, store: Store, fields: dict[str, Any]) -> None:
        """Or else the thread would try to save it for ever."""
        prompt = read_prompt(fields)
        written = row(new_thread(), text=prompt.text, author=prompt.author, metadata=prompt.metadata)
        await store.insert([written])
        [found] = await store.get([written.id])
        assert (found.text, found.author) == (prompt.text, prompt.author)
        again = prompt.model_copy(update={"metadata": found.metadata})
        assert again.digest() == prompt.digest()

    @given(thread=st.text(min_size=1, max_size=200))
    @shared_store
    async def test_a_thread_may_be_called_anything(self, store: Store, thread: str) -> None:
        mine = row(f"{uuid4().hex}{thread}")
        await store.insert([mine, row(mine.thread + "x")])
        assert (await store.page(mine.thread, cursor=None, limit=9, newest_first=True)).items == [mine]

    # --- pages

    @pytest.mark.parametrize("newest_first", [True, False])
    @pytest.mark.parametrize("limit", [1, 3, 100])
    async def test_pages_give_every_row_once_in_order(self, store: Store, limit: int, newest_first: bool) -> None:
        thread = new_thread()
        rows = [row(thread, seq) for seq in (5, 1, END + 2, 3, END + 1, ids.first_seq(10**6))]
        await store.insert([*rows, row(new_thread(), 2)])
        expected = [r.id for r in sorted(rows, key=lambda r: r.seq, reverse=newest_first)]
        assert await everything(store, thread, limit=limit, newest_first=newest_first) == expected

    @pytest.mark.parametrize("newest_first", [True, False])
    @given(seqs=st.lists(st.integers(0, 3), max_size=14), limit=st.integers(1, 5))
    @shared_store
    async def test_pages_give_every_row_once_even_if_many_have_the_same_place(
        self, store: Store, newest_first: bool, seqs: list[int], limit: int
    ) -> None:
        thread = new_thread()
        rows = {r.id: r for r in (row(thread, seq) for seq in seqs)}
        await store.insert(list(rows.values()))
        found = await everything(store, thread, limit=limit, newest_first=newest_first)
        assert sorted(found) == sorted(rows)
        assert [rows[row_id].seq for row_id in found] == sorted(seqs, reverse=newest_first)

    async def test_rows_written_between_two_pages_neither_hide_nor_repeat_the_others(self, store: Store) -> None:
        thread = new_thread()
        rows = [row(thread, seq) for seq in range(6)]
        await store.insert(rows)
        first = await store.page(thread, cursor=None, limit=3, newest_first=True)
        await store.insert([row(thread, 9)])
        second = await store.page(thread, cursor=first.next, limit=9, newest_first=True)
        assert [message.seq for message in [*first.items, *second.items]] == [5, 4, 3, 2, 1, 0]

    async def test_a_thread_without_rows_has_one_empty_page(self, store: Store) -> None:
        assert await store.page(new_thread(), cursor=None, limit=5, newest_first=True) == Page[Message](items=[])

    @pytest.mark.parametrize("cursor", BAD_CURSORS, ids=range(len(BAD_CURSORS)))
    async def test_a_cursor_that_is_none_is_refused_in_words(self, store: Store, cursor: str) -> None:
        await store.insert([row(new_thread())])
        with pytest.raises(InputRefusedError, match="cursor: "):
            await store.page("t", cursor=cursor, limit=5, newest_first=True)
        with pytest.raises(InputRefusedError, match="cursor: "):
            await store.page_threads(cursor=cursor, limit=5)

    # --- what a step needs to see

    async def test_history_is_the_last_ended_rows_oldest_first(self, store: Store) -> None:
        thread = new_thread()
        statuses = ["answered", "complete", "failed", "pending", "refused", "answered", "complete"]
        rows = [row(thread, seq, status=status) for seq, status in enumerate(statuses)]
        await store.insert([*reversed(rows), row(new_thread(), 1, status="complete")])
        assert [r.seq for r in await store.history(thread, 100, 100)] == [0, 1, 2, 5, 6]
        assert [r.seq for r in await store.history(thread, 100, 2)] == [5, 6]
        assert [r.seq for r in await store.history(thread, 6, 100)] == [0, 1, 2, 5]

    async def test_history_ends_exactly_where_the_turn_begins(self, store: Store) -> None:
        """Floats must not blur the place, even in the millionth turn."""
        thread, turn = new_thread(), 10**6
        rows = [row(thread, ids.first_seq(turn) + offset, status="answered") for offset in (-1, 0, 1)]
        await store.insert(rows)
        assert await store.history(thread, ids.first_seq(turn), 9) == rows[:1]

    async def test_open_prompts_are_those_accepted_and_not_ended(self, store: Store) -> None:
        thread, other = new_thread(), new_thread()
        open_rows = [row(thread, ids.first_seq(3)), row(thread, END + 1), row(thread, END + 2)]
        ended = [row(thread, seq, status=status) for seq, status in enumerate(["answered", "failed", "refused"])]
        answer = row(thread, 7, role="assistant")
        elsewhere = row(other, 5)
        await store.insert([*reversed(open_rows), *ended, answer, elsewhere])
        assert await store.open_prompts(thread, 9) == open_rows
        assert await store.open_prompts(thread, 2) == open_rows[:2]
        everywhere = {r.id for r in await store.open_prompts(None, 10_000)}
        assert everywhere >= {r.id for r in [*open_rows, elsewhere]}
        assert everywhere.isdisjoint(r.id for r in [*ended, answer])

    async def test_recent_prompts_are_those_that_had_a_turn(self, store: Store) -> None:
        thread = new_thread()
        statuses = ["answered", "refused", "failed", "pending"]
        had_turn = [row(thread, ids.first_seq(turn), status=status) for turn, status in enumerate(statuses)]
        others = [row(thread, END + 1), row(thread, 5, role="assistant", status="complete"), row(new_thread(), 1)]
        await store.insert([*others, *reversed(had_turn)])
        expected = [r for r in had_turn if r.status != "refused"]
        assert await store.recent_prompts(thread, 9) == expected
        assert await store.recent_prompts(thread, 2) == expected[-2:]

    # --- threads

    async def test_calls_that_wait_are_listed_until_they_do_not(self, store: Store) -> None:
        thread, other = new_thread(), new_thread()
        names = [(thread, "approval"), (thread, "approval"), (thread, "result"), (other, "approval")]
        rows = [
            Message(
                id=str(uuid4()), thread=name, prompt_id="p", slot=f"tool:{n}", role="tool", owner="ada", waits=waits,
                arguments='{"a": 1}', args_digest="d", deadline=1.5, created_at=float(n),
            )
            for n, (name, waits) in enumerate(names)
        ]  # fmt: skip
        await store.insert(rows)

        async def listed(**fields: Any) -> list[str]:
            found: list[str] = []
            cursor: str | None = None
            while True:
                page = await store.waiting_calls(CallFilter(**fields), cursor=cursor, limit=1)
                found += [row.id for row in page.items]
                if (cursor := page.next) is None:
                    return found

        one, two, result, elsewhere = (row.id for row in rows)
        assert await listed(thread=thread) == [one, two]
        assert await listed(thread=thread, waits="result", owner="ada") == [result]
        assert await listed(thread=other, owner="eve") == []
        assert elsewhere in await listed(owner="ada")
        decision = {"decision": "deny", "reason": "no"}
        await store.amend(one, 1, {"waits": None, "decision": decision})
        await store.amend(two, 1, {"status": "interrupted"})
        assert await listed(thread=thread) == []
        [kept] = await store.get([one])
        assert (kept.decision, kept.arguments, kept.args_digest, kept.deadline) == (decision, '{"a": 1}', "d", 1.5)

    async def test_who_has_threads_is_listed_once_with_how_many(self, store: Store) -> None:
        tenant = f"shop-{new_thread()}"
        for owner in ("ada", "bob", "ada", "", "eve"):
            await store.insert_thread(ThreadRecord(thread=new_thread(), tenant=tenant, owner=owner))
        found: dict[str, int] = {}
        cursor: str | None = None
        while True:
            page = await store.page_owners(tenant, cursor=cursor, limit=2)
            found |= {item.owner: item.threads for item in page.items}
            if (cursor := page.next) is None:
                break
        assert found == {"ada": 2, "bob": 1, "eve": 1}
        with pytest.raises(InputRefusedError, match="cursor"):
            await store.page_owners(tenant, cursor="5", limit=2)

    async def test_a_threads_record_is_made_once(self, store: Store) -> None:
        record = ThreadRecord(
            thread=new_thread(),
            tenant="acme",
            owner="ada",
            agent="poet",
            metadata={"a": {"b": [1]}},
            turns=1,
            preview="Hi\x00\U0001f600",
            status="failed",
            idle_timeout_s=60.0,
            expires_at=1_900_000_000.5,
            operator="ada",
            parent=Parent(thread="t", prompt_id="p", message_id="m", depth=2),
            compaction="due",
            compact_through=2**40,
            summary_through=1,
            epoch=1,
            run_id="r",
            erasure="e",
            created_at=1.5,
            updated_at=2.5,
        )
        assert record.model_fields_set == type(record).model_fields.keys(), "a new field must be kept too"
        assert await store.insert_thread(record) == record
        assert await store.insert_thread(ThreadRecord(thread=record.thread, owner="eve")) == record
        assert await store.get_thread(record.thread) == record

    async def test_a_thread_that_never_was_has_no_record(self, store: Store) -> None:
        assert await store.get_thread(new_thread()) is None
        await store.end_turn(thread := new_thread(), 1, {"preview": "x"})
        assert await store.get_thread(thread) is None

    async def test_of_two_runs_that_open_a_thread_one_gets_the_epoch(self, store: Store) -> None:
        await store.insert_thread(ThreadRecord(thread=(thread := new_thread())))
        first = await store.open_epoch(thread, 0, "run-1")
        second = await store.open_epoch(thread, 0, "run-2")
        assert (first.epoch, first.run_id) == (second.epoch, second.run_id) == (1, "run-1")
        third = await store.open_epoch(thread, 1, "run-2")
        assert (third.epoch, third.run_id) == (2, "run-2")

    async def test_of_many_runs_at_once_each_gets_an_epoch_of_its_own(self, store: Store) -> None:
        await store.insert_thread(ThreadRecord(thread=(thread := new_thread())))

        async def open_thread(run_id: str) -> int:
            record = await store.get_thread(thread)
            assert record is not None
            while record.run_id != run_id:
                record = await store.open_epoch(thread, record.epoch, run_id)
            return record.epoch

        epochs = await asyncio.gather(*(open_thread(f"run-{n}") for n in range(10)))
        assert len(set(epochs)) == 10
        record = await store.get_thread(thread)
        assert record is not None
        assert record.epoch == max(epochs)  # one that was overtaken before it could read took a second one
        assert record.run_id == f"run-{epochs.index(record.epoch)}"

    async def test_the_end_of_an_earlier_turn_does_not_undo_a_later_one(self, store: Store) -> None:
        await store.insert_thread(ThreadRecord(thread=(thread := new_thread()), agent="poet"))
        for turn, said in [(1, "one"), (3, "three"), (2, "two"), (3, "three again")]:
            await store.end_turn(thread, turn, {"preview": said, "updated_at": float(turn)})
        record = await store.get_thread(thread)
        assert record is not None
        assert (record.turns, record.preview, record.updated_at, record.agent) == (3, "three again", 3.0, "poet")

    @pytest.mark.parametrize("limit", [1, 2, 50])
    async def test_threads_come_by_last_activity_each_once(self, store: Store, limit: int) -> None:
        """Also if several were active at the same moment, whose time has more digits than the store keeps."""
        moments = [time.time() + 10**6 * limit + number for number in range(40)]  # later than all others
        records = [ThreadRecord(thread=new_thread(), updated_at=moment) for moment in [*moments, *moments, *moments]]
        for record in records:
            await store.insert_thread(record)
            await store.save_checkpoint(record.thread, 1, 1, {"a": 1})  # a record of another kind
        found: list[ThreadRecord] = []
        cursor: str | None = None
        while len(found) < len(records):
            page = await store.page_threads(cursor=cursor, limit=limit)
            assert 0 < len(page.items) <= limit
            found += page.items
            cursor = page.next
        found = found[: len(records)]
        assert sorted(record.thread for record in found) == sorted(record.thread for record in records)
        assert [record.updated_at for record in found] == pytest.approx(sorted(3 * moments, reverse=True), abs=1e-5)

    @pytest.mark.parametrize("limit", [1, 50])
    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            ({}, [5, 4, 3, 2, 1, 0]),
            ({"owner": "ada"}, [4, 2, 0]),
            ({"agent": "poet"}, [3, 0]),
            ({"status": "failed"}, [5, 4]),
            ({"owner": "ada", "status": "failed"}, [4]),
            ({"text": "deploy"}, [3, 0]),
            ({"text": "BLOG dEPLOY"}, [0]),
            ({"text": "the blog, please!"}, [0]),
            ({"text": "KÖLN", "owner": "ada"}, [4, 2]),
            ({"text": "köl"}, []),
            ({"text": "deploy", "owner": "nobody"}, []),
        ],
        ids=str,
    )
    async def test_threads_are_found_by_all_that_is_asked(
        self, store: Store, asked: dict[str, str], found: list[int], limit: int
    ) -> None:
        """By fields as they are; by words in whatever case and order."""
        tenant = new_thread()
        said = ["Please deploy the Blog", "and", "Grüße aus Köln", "DEPLOY", "köln-deployment", ""]
        for number, text in enumerate(said):
            record = ThreadRecord(
                thread=f"{tenant}-{number}",
                tenant=tenant,
                owner="eve" if number % 2 else "ada",
                agent="poet" if number in {0, 3} else "",
                status="failed" if number > 3 else "active",
                preview=text,
                updated_at=float(number),
            )
            await store.insert_thread(record)
        await store.insert_thread(ThreadRecord(thread=new_thread(), owner="ada", preview="deploy the blog, please"))
        assert await threads_found(store, ThreadFilter.model_validate({"tenant": tenant} | asked), limit) == [
            f"{tenant}-{number}" for number in found
        ]

    async def test_a_thread_is_found_by_its_last_prompt_and_how_its_last_turn_ended(self, store: Store) -> None:
        tenant, thread = new_thread(), new_thread()
        await store.insert_thread(ThreadRecord(thread=thread, tenant=tenant, preview="first words"))
        await store.end_turn(thread, 1, {"preview": "other words", "status": "failed"})
        assert await threads_found(store, ThreadFilter(tenant=tenant, text="first")) == []
        assert await threads_found(store, ThreadFilter(tenant=tenant, text="other", status="failed")) == [thread]

    @pytest.mark.parametrize(
        "text",
        ["!!!", "*", "%", "' OR 1=1 --", '{"match": {}}', "\x00", "\u202e", "😀", "a" * 200, "日本", "\\", "a:b~2^"],
        ids=ascii,
    )
    async def test_a_text_that_is_no_words_of_the_prompt_finds_nothing_and_breaks_nothing(
        self, store: Store, text: str
    ) -> None:
        tenant = new_thread()
        await store.insert_thread(ThreadRecord(thread=new_thread(), tenant=tenant, preview="Deploy the blog"))
        assert await threads_found(store, ThreadFilter(tenant=tenant, text=text)) == []

    @pytest.mark.parametrize("text", ["", "  ", "\n"])
    async def test_a_blank_text_asks_for_nothing(self, store: Store, text: str) -> None:
        tenant, thread = new_thread(), new_thread()
        await store.insert_thread(ThreadRecord(thread=thread, tenant=tenant, preview="Deploy the blog"))
        assert await threads_found(store, ThreadFilter(tenant=tenant, text=text)) == [thread]

    # --- checkpoints

    async def test_a_checkpoint_comes_back_as_it_was(self, store: Store) -> None:
        state: dict[str, Any] = {"version": 1, "recent": {"ä\x00": "d"}, "deep": [[[[{"a": None}]]]], "big": 2**62}
        await store.save_checkpoint(thread := new_thread(), 1, 2, state)
        assert await store.load_checkpoint(thread) == state
        assert await store.load_checkpoint(new_thread()) is None

    async def test_the_largest_checkpoint_is_kept(self, store: Store) -> None:
        state = {"recent": {f"{number:0128d}": "d" * 20 for number in range(12_000)}}
        await store.save_checkpoint(thread := new_thread(), 1, 2, state)
        assert await store.load_checkpoint(thread) == state

    @pytest.mark.parametrize(
        ("kept", "late", "wins"),
        [
            ((1, 2), (1, 3), True),
            ((1, 2), (1, 2), True),
            ((1, 3), (1, 2), False),
            ((2, 1), (1, 900_000_000), False),
            ((1, 900_000_000), (2, 1), True),
        ],
    )
    async def test_an_earlier_checkpoint_never_replaces_a_later_one(
        self, store: Store, kept: tuple[int, int], late: tuple[int, int], wins: bool
    ) -> None:
        thread = new_thread()
        await store.save_checkpoint(thread, *kept, {"which": "kept"})
        await store.save_checkpoint(thread, *late, {"which": "late"})
        assert await store.load_checkpoint(thread) == {"which": "late" if wins else "kept"}

    async def test_a_record_and_a_checkpoint_do_not_touch_each_other(self, store: Store) -> None:
        record = await store.insert_thread(ThreadRecord(thread=(thread := new_thread()), updated_at=1.0))
        await store.save_checkpoint(thread, 1, 1, {"a": 1})
        await store.open_epoch(thread, 0, "run")
        await store.end_turn(thread, 4, {"updated_at": 2.0})
        assert await store.load_checkpoint(thread) == {"a": 1}
        changed = {"epoch": 1, "run_id": "run", "turns": 4, "updated_at": 2.0}
        assert await store.get_thread(thread) == record.model_copy(update=changed)
