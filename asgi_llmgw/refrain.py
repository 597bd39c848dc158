"""What a stream says again and again: frames that are the same but for one text. They need no parser.

What stands around the text is learnt from one frame that was read in full. A frame with the same bytes around another
text is the same JSON but for this one string, so it can tell nothing else: no error, no usage, no end.
"""

from __future__ import annotations

import re
from typing import Final

from asgi_llmgw.json import dumps

_LESSONS: Final = 8
_BLANK_LINE: Final = re.compile(rb"\r?\n\r?\n")
_TEXT: Final = re.compile(rb'[^"\\\x00-\x1f]*+(?:\\["\\/bfnrt][^"\\\x00-\x1f]*+)*+')
"""The inside of a JSON string, those apart that need more than a look."""
_ESCAPE: Final = re.compile(rb"\\.")
_PADDING: Final = b'"obfuscation":"'
_PADDED: Final = re.compile(rb'[A-Za-z0-9]*+"\}\r?\n\r?\n')
"""OpenAI hides the length of words behind random letters at the end of a chunk."""


class Refrain:
    """The frame that the last ones were, and the place of its one text.

    A stream of which no two frames are alike is given up.
    """

    __slots__ = ("_after", "_before", "_lessons", "_padded")

    def __init__(self) -> None:
        self._before = self._after = b""
        self._padded = False
        self._lessons = _LESSONS

    @property
    def learns(self) -> bool:
        """Whether it is still worth teaching."""
        return self._lessons > 0

    def again(self, chunk: bytes) -> tuple[int, int]:
        """How many bytes at the start of a chunk are the same frame again, and how many characters they tell."""
        before, after, padded = self._before, self._after, self._padded
        position = told = count = 0
        if not before:
            return 0, 0
        while chunk.startswith(before, position):
            start = position + len(before)
            text = _TEXT.match(chunk, start)
            end = start if text is None else text.end()
            if not chunk.startswith(after, end):
                break
            following = end + len(after)
            if padded:
                padding = _PADDED.match(chunk, following)
                if padding is None:
                    break
                following = padding.end()
            position = following
            told += end - start
            count += 1
        if not count:
            return 0, 0
        self._lessons = _LESSONS
        return self._counted(chunk[:position], told)

    def _counted(self, frames: bytes, told: int) -> tuple[int, int]:
        """Bytes of text are not characters of text."""
        if not frames.isascii():
            try:
                told -= len(frames) - len(frames.decode())
            except UnicodeDecodeError:
                return 0, 0
        if b"\\" in frames:
            told -= len(_ESCAPE.findall(frames))
        return len(frames), told

    def lost(self) -> None:
        """A frame has told something else."""
        self._before = b""
        self._lessons -= 1

    def learn(self, frame: bytes, text: str) -> None:
        """Begin with a whole frame, blank line included, that told this text and nothing else."""
        self.lost()
        written = dumps(text)
        # without escapes every string is written as it is, so that one that is there once is the one that was told
        if not text or b"\\" in frame or frame.count(written) != 1:
            return
        before, _, after = frame.partition(written)
        if not (before + after).isascii():
            return
        head, padding, rest = after.partition(_PADDING)
        self._padded = bool(padding) and _PADDED.fullmatch(rest) is not None
        self._before, self._after = before + b'"', b'"' + (head + padding if self._padded else after)


def first_frame(chunk: bytes) -> int:
    """Where the first frame of a chunk ends, its blank line included; all of the chunk if it ends later."""
    found = _BLANK_LINE.search(chunk)
    return len(chunk) if found is None else found.end()
