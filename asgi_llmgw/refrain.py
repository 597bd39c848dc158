"""What a stream says again and again: frames that are the same but for one text. They need no parser.

What stands around the text is learnt from one frame that was read in full. A frame with the same bytes around another
text is the same JSON but for this one string, so it can tell nothing else: no error, no usage, no end. Frames may also
differ where nobody reads: in a running number, and in the letters or blanks by which vendors hide the length of words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import repeat
from typing import Final, TypeAlias

from asgi_llmgw.json import JSONError, dumps, loads_string, loads_strings

_LESSONS: Final = 8
_TEXT: Final = rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*'
"""The inside of a JSON string, those with halves of characters apart: some of them stand for nothing.

A group is never repeated possessively here: CPython before 3.11.5 then forgets what it has captured, and may take half
of a repetition for a whole one (https://github.com/python/cpython/issues/106052). Single characters are safe.
"""
_WORDS: Final = rb"(%b)" % _TEXT
_NUMBER: Final = rb"(?:0|[1-9][0-9]{0,17})"
_LETTERS: Final = rb"[A-Za-z0-9]*+"
_BLANKS: Final = rb" *+"
_UNREAD: Final = (
    (re.compile(rb'"sequence_number": ?(%b)(?=[,}])' % _NUMBER), _NUMBER),
    (re.compile(rb'"created": ?(%b)(?=[,}])' % _NUMBER), _NUMBER),
    (re.compile(rb'"obfuscation": ?"(%b)"' % _LETTERS), _LETTERS),
    (re.compile(rb'"p": ?"(%b)"' % _LETTERS), _LETTERS),
    (re.compile(rb"\}(%b)\}\n\n" % _BLANKS), _BLANKS),
)
"""Where frames may differ without telling anything: OpenAI numbers its events and pads them with `obfuscation`, Mistral
with `p`, Anthropic with blanks in front of the last brace, and some servers tell the time with each chunk."""
_NAME: Final = re.compile(rb'"[a-z_]+": ?"')

Again: TypeAlias = tuple[int, list[str], bytes]
"""How many bytes are the same frame again, the texts they tell, and what of these bytes is passed on."""
Passing: TypeAlias = Callable[[bytes], bytes]
"""What of frames is passed on. It is asked for what stands before and behind a text alike, and alters no text."""
_Spot: TypeAlias = tuple[int, int, bytes]
"""Where frames may differ: its beginning, its end, and what may stand there."""


class Refrain:
    """The frame that the last ones were, if they are worth comparing with.

    Args:
        passing: what of frames is passed on; None where nobody wants to know.

    Attributes:
        learns: it is still worth teaching. It is given up where more frames have to be learnt than come again.
    """

    __slots__ = ("_frame", "_lessons", "_passing", "learns")

    def __init__(self, passing: Passing | None = None) -> None:
        self._frame: _Frame | None = None
        self._lessons = _LESSONS
        self._passing = passing
        self.learns = True

    def again(self, frames: bytes, start: int = 0) -> Again:
        """What comes again from here on."""
        if self._frame is None:
            return 0, [], b""
        try:
            found = self._frame.again(frames, start)
        except JSONError:
            self.missed()
            return 0, [], b""
        if self._lessons < _LESSONS:
            self._lessons = min(self._lessons + len(found[1]), _LESSONS)
        return found

    def lost(self) -> None:
        """A frame has told something else."""
        self._frame = None

    def missed(self) -> None:
        """A frame has told a text, but not that alone."""
        self._frame = None
        self._lessons -= 1
        self.learns = self._lessons > 0

    def learn(self, frame: bytes, text: str) -> None:
        """Begin with a whole frame, blank line included, that told this text and nothing else."""
        self.missed()
        if not self.learns:
            return
        written = dumps(text)
        before, _, after = frame.partition(written)
        around = before + after
        # where no other string is written with escapes, one that is there once is the one that was told
        if not after or written in after or b"\\" in around or b"\0" in around or not around.isascii():
            return
        name = before[before.rfind(b'"', 0, before.rfind(b'"')) :] + b'"'
        if _NAME.fullmatch(name) is not None and frame.count(name) == 1:
            self._frame = _Frame(frame, len(before) + 1, len(frame) - len(after) - 1, name, self._passing)


class _Frame:
    """A frame without its text.

    Args:
        frame: the frame with one.
        start: where that begins, behind its quote.
        end: where it ends, before its quote.
        name: how the member begins that it is the value of; no other member begins so.
        passing: what of frames is passed on.
    """

    __slots__ = (
        "_after",
        "_around",
        "_before",
        "_end",
        "_name",
        "_passed",
        "_passing",
        "_start",
        "_two",
        "_whole",
        "_wide",
    )

    def __init__(self, frame: bytes, start: int, end: int, name: bytes, passing: Passing | None) -> None:
        self._before, self._after, self._name = frame[:start], frame[end:], name
        self._whole, self._start, self._end = frame, start, end - len(frame)
        self._around = start + len(self._after)
        self._two = 2 * self._around
        self._passing = passing
        self._passed = None if passing is None else (passing(self._before), passing(self._after))
        self._wide: _WideFrame | None = None

    def again(self, frames: bytes, start: int) -> Again:
        """As `Refrain.again`.

        Raises:
            JSONError: one of the texts is none.
        """
        if self._wide is not None:
            return self._wide.again(frames, start)
        if not frames.startswith(self._before, start):
            if frames.find(self._name, start) < 0:
                return 0, [], b""
        elif len(frames) - start < self._two:
            found = self._text(frames, start)
            if found is not None:
                return found
        else:
            found = self._texts(frames, start)
            if found is not None:
                return found
        unread = _unread(self._whole)
        if not unread and frames.find(self._after, start) < 0:
            return 0, [], b""
        text = (self._start, len(self._whole) + self._end, _WORDS)
        self._wide = _WideFrame(self._whole, text, unread, self._name, self._passing)
        return self._wide.again(frames, start)

    def _text(self, frames: bytes, start: int) -> Again | None:
        """The same for one frame, as nearly always comes alone."""
        begin = start + self._start
        if not frames.endswith(self._after, begin):
            return None
        text = frames[begin : self._end]
        try:
            read = [loads_string(b'"%b"' % text)]
        except JSONError:
            return None
        passed = self._passed
        return len(frames) - start, read, b"" if passed is None else passed[0] + text + passed[1]

    def _texts(self, frames: bytes, start: int) -> Again | None:
        """The same for frames in which nothing but the text is new, as nearly always: no pattern is needed then.

        None if these bytes have to be looked at more closely.
        """
        before, after = self._before, self._after
        # at the short name, because to look for what is long takes preparations each time
        pieces = frames[start + self._start :].split(self._name)
        last, whole, rest = pieces.pop().partition(after)
        texts = list(map(bytes.removesuffix, pieces, repeat((after + before).removesuffix(self._name))))
        if whole:
            texts.append(last)
        else:
            rest = before + last
        taken = len(frames) - len(rest) - start
        # a piece that ends otherwise has kept its end
        if taken != sum(map(len, texts)) + len(texts) * self._around:
            return None
        told = b'","'.join(texts)
        # a backslash there would take the quote behind it into the text
        if b'\\","' in told or told.endswith(b"\\"):
            return None
        try:
            read = loads_strings(b'["%b"]' % told)
        except JSONError:
            return None
        # a quote inside a text would make it two; and one frame alone may be because the others differ elsewhere
        if len(read) != len(texts) or (rest and len(read) == 1):
            return None
        if self._passed is None:
            return taken, read, b""
        before, after = self._passed
        return taken, read, b"%b%b%b" % (before, (after + before).join(texts), after)


class _WideFrame:
    """A frame without its text, and without what may differ unread.

    Args:
        frame: the frame with one.
        text: where that is.
        unread: what may differ besides.
        name: as for `_Frame`.
        passing: as for `_Frame`.
    """

    __slots__ = ("_again", "_around", "_name", "_passing", "_place", "_two")

    def __init__(self, frame: bytes, text: _Spot, unread: list[_Spot], name: bytes, passing: Passing | None) -> None:
        self._name = name
        self._passing = passing
        spots = sorted([text, *unread])
        edges = [0, *(edge for first, last, _ in spots for edge in (first, last)), len(frame)]
        pieces = [frame[first:last] for first, last in zip(edges[::2], edges[1::2], strict=True)]
        self._again = _same_frames(tuple(inside for _, _, inside in spots))
        self._around = b"\0".join([*pieces, b""])
        self._place = len(pieces) + 1
        self._two = 2 * sum(map(len, pieces))

    def again(self, frames: bytes, start: int) -> Again:
        """As `_Frame.again`."""
        if frames.find(self._name, start) < 0:
            return 0, [], b""
        around = self._around
        found = self._again.match(around + frames[start:])
        taken = 0 if found is None else found.end() - len(around)
        if found is None or not taken:
            return 0, [], b""
        if taken < self._two:
            texts = [loads_string(b'"%b"' % found[self._place])]
        else:
            told = _texts_named(self._name).findall(frames, start, start + taken)
            texts = loads_strings(b'["%b"]' % b'","'.join(told))
        return taken, texts, b"" if self._passing is None else self._passing(frames[start : start + taken])


def _unread(frame: bytes) -> list[_Spot]:
    found = [(place.search(frame), inside) for place, inside in _UNREAD]
    return [(*spot.span(1), inside) for spot, inside in found if spot is not None]


@lru_cache(maxsize=64)
def _same_frames(spots: tuple[bytes, ...]) -> re.Pattern[bytes]:
    """As many frames as there are with these spots, and around them what is told in front, a NUL behind each piece.

    One pattern serves all streams whose frames have the same spots: to compile one for each would take longer than to
    parse them.
    """
    told = rb"([^\0]*+)\0" * (len(spots) + 1)
    frame = rb"\1" + b"".join(rb"%b\%d" % (spot, number) for number, spot in enumerate(spots, 2))
    return re.compile(rb"%b(?:%b)*" % (told, frame))


@lru_cache(maxsize=64)
def _texts_named(name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"%b(%b)" % (re.escape(name), _TEXT))
