"""The base of all request bodies."""

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """Only fields that exist, and "5" is no number. Values, secrets among them, are not kept."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, cache_strings="keys")
