"""`python manage.py add_client NAME`: let somebody in."""

from __future__ import annotations

import secrets

from django.core.management.base import BaseCommand, CommandParser

from clients.models import Client, digest_of


class Command(BaseCommand):
    help = "Adds a client of the gateway and prints its key, which is not kept."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")

    def handle(self, *, name: str, **options: object) -> None:
        secret = f"sk-{secrets.token_urlsafe(32)}"
        Client.objects.create(name=name, digest=digest_of(secret))
        self.stdout.write(secret)
