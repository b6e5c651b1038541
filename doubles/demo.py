"""The script of `make demo`: an answer slow enough to be killed in the middle, and a tool."""

from __future__ import annotations

from doubles.replies import Reply, ToolCall

# About a hundred words, which take about twenty seconds. Each line is numbered, so that one sees where it was cut.
STEPS = """
Your prompt is on disk.
Temporal wrote it down first.
A worker is asking me.
I answer word by word.
Go on: kill -9 everything.
No process here must survive.
The prompt waits in history.
Then start the demo again.
The thread wakes by itself.
A fresh worker takes over.
It asks me once more.
I begin again at one.
Old words are replaced, never doubled.
A stale worker cannot overwrite.
Only one final answer counts.
The store keeps that one.
So nothing is lost.
And nothing is answered twice.
Next, ask for the time.
That answer uses a tool.
""".strip().splitlines()

ANSWER = "\n".join(f"{number}. {step}" for number, step in enumerate(STEPS, start=1))
ASKS_TIME = "(?i)time|clock"

REPLIES = [
    Reply(
        when=ASKS_TIME,
        when_offered="current_time",
        tool_calls=[ToolCall(name="current_time", arguments={"timezone": "UTC"})],
        first_delay_s=0.3,
    ),
    Reply(
        when=ASKS_TIME,
        text="I cannot see a clock: this agent does not offer me the tool `current_time`.",
        first_delay_s=0.3,
        delay_s=0.05,
    ),
    Reply(after_tool=True, text="I asked the tool, and it says: {tool}", first_delay_s=0.3, delay_s=0.1),
    Reply(text=ANSWER, first_delay_s=0.3, delay_s=0.17),
]
