"""The pages of the API's list. Wrong numbers are refused, so that a mistake of a client does not look like data."""

from typing import Any

from django.core.paginator import EmptyPage, Paginator
from django.http import QueryDict
from rest_framework.exceptions import NotFound
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from photos.errors import BadRequest

PAGE_SIZE = 24  # fills rows of two, three or four photos
PAGE_SIZE_MAX = 100
_BEYOND = 10**9  # more pages than any gallery has; longer numbers are not parsed


def positive(query: QueryDict, name: str, default: int, most: int | None = None) -> int:
    """Return a positive number from the query string. Raises BadRequest."""
    value = query.get(name, str(default))
    if not (value.isascii() and value.isdigit() and value.strip("0")):
        raise BadRequest(f"{name}: {value[:20]!r} is not a whole number of at least 1.")
    number = int(value) if len(value) < len(str(_BEYOND)) else _BEYOND
    if most and number > most:
        raise BadRequest(f"{name}: {number} is too large; the limit is {most}.")
    return number


class PhotoPagination(BasePagination):
    """`?page=2&page_size=50`. Links are paths, because clients may use another host name than the one that arrives."""

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        self._query = request.query_params
        self._path = request.path
        size = positive(self._query, "page_size", PAGE_SIZE, PAGE_SIZE_MAX)
        try:
            self._page = Paginator(queryset, size).page(positive(self._query, "page", 1))
        except EmptyPage as error:
            raise NotFound("There is no such page. Start at page 1 and follow `next`.") from error
        return list(self._page.object_list)

    def get_paginated_response(self, data: Any) -> Response:
        page = self._page
        return Response(
            {
                "count": page.paginator.count,
                "next": self._link(page.next_page_number()) if page.has_next() else None,
                "previous": self._link(page.previous_page_number()) if page.has_previous() else None,
                "results": data,
            }
        )

    def _link(self, number: int) -> str:
        query = self._query.copy()
        query["page"] = str(number)
        return f"{self._path}?{query.urlencode()}"

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        return [
            _parameter("page", "the number of the page", {"type": "integer", "minimum": 1, "default": 1}),
            _parameter(
                "page_size",
                "photos per page",
                {"type": "integer", "minimum": 1, "maximum": PAGE_SIZE_MAX, "default": PAGE_SIZE},
            ),
        ]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri-reference", "nullable": True}
        return {
            "type": "object",
            "required": ["count", "next", "previous", "results"],
            "properties": {"count": {"type": "integer"}, "next": link, "previous": link, "results": schema},
        }


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}
