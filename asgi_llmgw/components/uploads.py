"""Lets the forms of uploads pass without holding them: only their beginning is read, for the model in it."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

from asgi_llmgw._types import ASGIApp, Receive, Scope, Send
from asgi_llmgw.asgi import BODY_RATE, BODY_TIMEOUT, header, replay, send_gone
from asgi_llmgw.errors import GatewayError, InvalidRequest, RequestError
from asgi_llmgw.exchange import Exchange, Operation
from asgi_llmgw.operations.multipart import boundary_of
from asgi_llmgw.operations.table import default_model
from asgi_llmgw.render import send_error
from asgi_llmgw.uploads import MAX_UPLOAD, Upload, too_large

_FORMS: Final = "multipart/"
_TAKEN: Final[frozenset[Operation]] = frozenset({"images", "transcriptions", "files"})
"""The operations that can be asked for in forms."""
_FORM_ALONE: Final[frozenset[Operation]] = frozenset({"transcriptions", "files"})
"""The operations that are asked for in forms and in nothing else."""


class UploadsMiddleware:
    """Put the body of a form and the model it names into the exchange; what is no form passes by.

    The model is looked for at the beginning of the form; `?model=` in the address says it as well. Where neither does,
    it is the one that OpenAI takes then, if it takes any. What the form says later must agree.

    Args:
        app: routes and dispatches.
        max_upload: the largest form, in bytes.
        silence: seconds that the client may keep still.
        min_rate: bytes a second that must come on average, while they are waited for.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_upload: int = MAX_UPLOAD,
        silence: float = BODY_TIMEOUT,
        min_rate: float = BODY_RATE,
    ) -> None:
        self._app = app
        self._max_upload = max_upload
        self._silence = silence
        self._min_rate = min_rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange, scope = Exchange.of(scope)
        kind = header(exchange.headers, b"content-type") or ""
        form = kind.lower().startswith(_FORMS) and exchange.operation in _TAKEN
        if scope["type"] != "http" or scope["method"] != "POST" or not (form or exchange.operation in _FORM_ALONE):
            await self._app(scope, receive, send)
            return
        upload: Upload | None = None
        try:
            upload = self._upload(exchange, kind, receive)
            if exchange.operation != "files":
                exchange.model = await self._model(exchange, upload, scope)
        except GatewayError as error:
            if upload is not None and upload.gone:
                exchange.outcome = "client_disconnected"
                await send_gone(send)
                return
            exchange.reject(error)
            await send_error(send, error, exchange.client_protocol, request_id=exchange.request_id)
            return
        exchange.upload = upload
        await self._app(scope, replay(b"", upload.receive), send)

    def _upload(self, exchange: Exchange, kind: str, receive: Receive) -> Upload:
        boundary = boundary_of(kind)
        if boundary is None:
            raise RequestError(
                "The request body must be a form (content-type: multipart/form-data with a boundary).",
                kind="unsupported_media_type",
            )
        told = header(exchange.headers, b"content-length")
        declared = int(told) if told is not None and told.isdecimal() else None
        if declared is not None and declared > self._max_upload:
            raise too_large(self._max_upload)
        return Upload(
            receive,
            boundary=None if exchange.operation == "files" else boundary,
            declared=declared,
            limit=self._max_upload,
            silence=self._silence,
            min_rate=self._min_rate,
        )

    async def _model(self, exchange: Exchange, upload: Upload, scope: Scope) -> str:
        query = parse_qs(bytes(scope.get("query_string") or b"").decode("latin-1")).get("model", [])
        found = await upload.find_model()
        named = {name for name in (*query, found) if name is not None}
        if len(named) > 1:
            raise InvalidRequest("The request names two models.", param="model")
        model = next(iter(named), None) or default_model(exchange.operation)
        if model is None:
            raise InvalidRequest(
                "The form names no model at its beginning: send 'model' before the file, or as ?model= in the address.",
                param="model",
                code="missing_model",
            )
        return model
