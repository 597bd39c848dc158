"""The short way for what nearly all chunks of a stream are: the same chunk as the one before, with another text in it.

What stands around the text is read once, and then only compared. So this way need not know what a chunk may hold, and
cannot tell anything else than the general way would: it is the same JSON but for one string.
"""

from __future__ import annotations

from typing import Final

from asgi_llmgw.ir import Delta, TextDelta
from asgi_llmgw.json import JSONError, JSONObject, as_object, dumps, loads, loads_string
from asgi_llmgw.sse import ServerSentEvent

_LESSONS: Final = 4
_OTHER: Final = "\0"
_TEXTS: Final = ("content", "reasoning_content", "reasoning")
_TELL_NOTHING: Final = ("role", "channel")
_NOT_IN_CHUNK: Final = ("error", "usage", "citations", "x_groq")
_NOT_IN_CHOICE: Final = ("error", "finish_reason")
_PADDING: Final = b'"obfuscation":"'


class Flow:
    """The chunk that the last ones were, and the place of its one text.

    `before` and `after` are what stands around the text. If it is padded, a string of random letters and the end of
    the chunk follow: OpenAI hides the length of words so. A server of which no two chunks are alike is given up.
    """

    __slots__ = ("_after", "_before", "_fragments", "_index", "_lessons", "_make", "_padded")

    def __init__(self) -> None:
        self._before = self._after = b""
        self._padded = False
        self._make: type[Delta] = TextDelta
        self._index = 0
        self._fragments: list[str] | None = None
        self._lessons = _LESSONS

    @property
    def learns(self) -> bool:
        """Whether it is still worth teaching."""
        return self._lessons > 0

    def more(self, frame: ServerSentEvent) -> Delta | None:
        """What a chunk tells that is the same but for the text; None for any other, with which the flow ends."""
        before, data = self._before, frame.data
        if not before:
            return None
        if data.startswith(before) and frame.event != "error":
            literal, after, rest = data[len(before) :].partition(self._after)
            if after and (_is_padding(rest) if self._padded else not rest):
                try:
                    text = loads_string(literal)
                except JSONError:
                    text = ""
                if text:
                    self._lessons = _LESSONS
                    if self._fragments is not None:
                        self._fragments.append(text)
                    return self._make(self._index, text)
        self._before = b""
        return None

    def learn(self, data: bytes, chunk: JSONObject, told: Delta, fragments: list[str] | None) -> None:
        """Begin with a chunk that told one delta, if it holds no more than that one text. The chunk is used up.

        Args:
            data: the chunk as it came.
            chunk: the chunk as it was read.
            told: what it told.
            fragments: where the text was kept, if it was.
        """
        place = _place(chunk)
        if place is None:
            return
        self._lessons -= 1
        holder, name = place
        before, _, after = data.partition(dumps(holder[name]))
        holder[name] = _OTHER
        try:
            # proves that it is this text which stands there, and not the same word elsewhere
            if loads(before + dumps(_OTHER) + after) != chunk:
                return
        except JSONError:
            return
        head, padding, rest = after.partition(_PADDING)
        self._padded = bool(padding) and _is_padding(rest)
        self._before, self._after = before, head + padding if self._padded else after
        self._make, self._index, self._fragments = type(told), told.index, fragments


def _place(chunk: JSONObject) -> tuple[JSONObject, str] | None:
    """The object and the member where the text stands, in a chunk that holds nothing else that could tell anything."""
    match chunk.get("choices"):
        case [dict() as choice] if not _says(choice, _NOT_IN_CHOICE) and not _says(chunk, _NOT_IN_CHUNK):
            delta = as_object(choice.get("delta")) if choice.get("logprobs") is None else {}
        case _:
            return None
    match [(name, value) for name, value in delta.items() if value and name not in _TELL_NOTHING]:
        case [(name, str())] if name in _TEXTS:
            return delta, name
        case [("tool_calls", [dict() as call])] if not call.keys() - {"index", "type", "function"}:
            function = as_object(call.get("function"))
            return (
                (function, "arguments") if isinstance(function.get("arguments"), str) and len(function) == 1 else None
            )
        case _:
            return None


def _says(value: JSONObject, names: tuple[str, ...]) -> bool:
    return any(value.get(name) for name in names)


def _is_padding(rest: bytes) -> bool:
    """Whether these are a few letters and digits, and the end of a chunk."""
    return rest.endswith(b'"}') and (len(rest) == 2 or rest[:-2].isalnum())
