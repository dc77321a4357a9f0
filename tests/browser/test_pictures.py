"""The documentation's pictures of a sweep's page can be taken, and are those of the page as it is."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from tests.browser.conftest import Page
from tests.browser.pictures import MOST_BYTES, PICTURES, Picture, take

each = pytest.mark.parametrize("picture", PICTURES, ids=[picture.name for picture in PICTURES])


@each
def test_a_picture_in_the_documentation_is_of_the_page_as_it_is(picture: Picture) -> None:
    """If it isn't: make pictures."""
    assert picture.noted_digest == picture.digest, "out of date: make pictures"


@each
def test_a_kept_picture_is_small(picture: Picture) -> None:
    assert picture.path.stat().st_size <= MOST_BYTES
    with Image.open(picture.path) as image:
        assert image.size == (picture.width, picture.height)


@each
def test_a_picture_taken_now_shows_every_chart(page: Page, picture: Picture) -> None:
    made = take(page, picture)
    assert len(made) <= MOST_BYTES
    with Image.open(io.BytesIO(made)) as image:
        assert image.size == (picture.width, picture.height)
        assert len(image.convert("RGB").getcolors(maxcolors=2**24)) > 60
        ground = image.convert("L").getpixel((2, 2))
    assert (ground < 60) == (picture.scheme == "dark")
    assert page.run("return document.documentElement.scrollWidth") <= picture.width
