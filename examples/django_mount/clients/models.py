"""Who may use the gateway."""

from __future__ import annotations

import hashlib

from django.db import models


def digest_of(secret: str) -> str:
    """What the database holds instead of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Client(models.Model):
    """One client of the gateway. Its secret is shown once, when it is made."""

    name = models.SlugField(unique=True)
    digest = models.CharField(max_length=64, unique=True)
    active = models.BooleanField(default=True)

    @classmethod
    async def with_secret(cls, secret: str) -> Client | None:
        """The active client this secret belongs to."""
        return await cls.objects.filter(digest=digest_of(secret), active=True).afirst()
