"""The site's own pages."""

from __future__ import annotations

from clients.models import Client
from django.http import HttpRequest, JsonResponse
from django.urls import path


async def index(request: HttpRequest) -> JsonResponse:
    """A page that uses the database, to show that Django is at home here."""
    return JsonResponse({"site": "django", "clients": await Client.objects.acount()})


urlpatterns = [path("", index)]
