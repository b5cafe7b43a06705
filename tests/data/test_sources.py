"""Inputs of users: paths, encoded images, PIL, arrays, lists; read correctly or refused."""

import io

import jax.numpy as jnp
import numpy as np
import pytest
import rubbish
import trees
from PIL import Image
from raising import fails

from wtflow_jax.data import File, Held, find, open_category, open_image, read_image


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ("b.png", "a.JPG", "deep/er/c.tiff", "deep/d.bmp", ".hidden/e.png"):
        trees.write(tmp_path / "in" / name, trees.picture(0))
    (tmp_path / "in" / "notes.txt").write_text("")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)


def names(*arguments):
    return [path.as_posix() for path in find(arguments, stdin=True)]


def test_directories_files_and_patterns(tree):
    everything = ["in/a.JPG", "in/b.png", "in/deep/d.bmp", "in/deep/er/c.tiff"]
    assert names("in") == everything
    assert names("in/b.png", "in/deep") == ["in/b.png", "in/deep/d.bmp", "in/deep/er/c.tiff"]
    assert names("in/*") == ["in/a.JPG", "in/b.png"]
    assert sorted(names("in/**/*.*")) == everything
    # A file given by name is an image, whatever its suffix.
    assert names("in/notes.txt") == ["in/notes.txt"]


def test_a_list_on_standard_input(tree, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"in/b.png\n\nnowhere.png\n")))
    assert names("-") == ["in/b.png", "nowhere.png"]


@pytest.mark.parametrize("argument", ["nowhere", "empty", "in/*.gif", "a" * 300])
def test_nothing_there_is_said(tree, argument):
    with fails(f"^{argument.replace('*', '.')}: no "):
        names(argument)


def test_patterns_enter_each_directory_once(tree, tmp_path):
    for name in ("one", "two"):
        (tmp_path / "in" / name).symlink_to(".")
    (tmp_path / "in" / "s[0]").mkdir()
    trees.write(tmp_path / "in" / "s[0]" / "f.png", trees.picture(0))
    assert names("in/**/*.png") == ["in/b.png", "in/s[0]/f.png"]
    assert names(f"{tmp_path}/i*/**/er/**/*") == [f"{tmp_path}/in/deep/er/c.tiff"]
    assert sorted(names("**/*.bmp")) == ["in/deep/d.bmp"]


def test_links_are_followed_once(tmp_path):
    rubbish.links(tmp_path / "in")
    found = [path.name for path in find([str(tmp_path / "in")])]
    # Dangling links are reported when they are read.
    assert found == ["gone.png", "self.png", "a.png", "b.png"]
    for name in ("self", "self.png", "gone.png"):
        with fails(name, "no such file or directory"):
            list(find([str(tmp_path / "in" / name)]))
    root = trees.folder(tmp_path / "own")
    whole = open_category(root, "own", "folder")
    (root / "scratch" / "up").symlink_to(root / "scratch")
    assert open_category(root, "own", "folder") == whole


PIXELS = trees.picture(3, 40, 64)
GREY = PIXELS[..., 0]


def png(pixels=PIXELS):
    return rubbish.encoded(Image.fromarray(pixels), "PNG")


def read(source):
    """The pixels of each image, whose names count."""
    found = list(find(source))
    assert [str(one) for one in found] == [f"image {i + 1}" for i in range(len(found))]
    assert all(isinstance(one, Held) and isinstance(one, File) for one in found)
    return [np.asarray(open_image(one)) for one in found]


@pytest.mark.parametrize(
    "source",
    [
        PIXELS,
        jnp.asarray(PIXELS),
        np.asfortranarray(PIXELS),
        PIXELS[None],
        [PIXELS],
        png(),
        io.BytesIO(png()),
        Image.fromarray(PIXELS),
        Image.open(io.BytesIO(png())),
        Image.fromarray(PIXELS).convert("RGBA"),
        np.dstack([PIXELS, np.full((40, 64), 255, np.uint8)]),
        PIXELS / 255,
        PIXELS.astype(np.uint16) * 257,
        (one for one in [PIXELS]),
    ],
    ids=lambda source: type(source).__name__,
)
def test_an_image_in_memory_is_that_of_its_file(source, tmp_path):
    (found,) = read(source)
    np.testing.assert_array_equal(found, PIXELS)
    path = trees.write(tmp_path / "a.png", PIXELS)
    again = next(find(Held("image 1", png)))
    np.testing.assert_array_equal(read_image(again, (32, 64)), read_image(path, (32, 64)))


def test_grey_batches_and_mixtures(tmp_path):
    (found,) = read(GREY)
    np.testing.assert_array_equal(found, np.repeat(GREY[..., None], 3, axis=-1))
    (found,) = read([GREY[..., None] > 30])
    np.testing.assert_array_equal(found, np.repeat(255 * (GREY[..., None] > 30), 3, axis=-1))
    batch = np.stack([trees.picture(i) for i in range(3)])
    np.testing.assert_array_equal(read(batch), batch)
    path = trees.write(tmp_path / "a.png", PIXELS)
    found = list(find([path, PIXELS, [batch, str(path)], png()]))
    names = [str(path), "image 2", "image 3", "image 4", "image 5", str(path), "image 7"]
    assert [str(one) for one in found] == names
    assert list(find(found)) == found


def test_a_picture_of_a_camera_is_turned_as_its_file(tmp_path):
    for name, path in rubbish.odd(tmp_path).items():
        with Image.open(path) as image:
            (found,) = read(image)
        np.testing.assert_array_equal(found, np.asarray(open_image(path)), err_msg=name)


def test_what_was_handed_over_may_change_afterwards():
    camera, image = PIXELS.copy(), Image.fromarray(PIXELS)

    def taken():
        for source in (camera, image):
            for value in (7, 9):
                camera[:] = value
                image.paste((value, value, value), (0, 0, *image.size))
                yield source

    found = [np.asarray(open_image(one)) for one in list(find(taken()))]
    assert [set(np.unique(one)) for one in found] == [{7}, {9}] * 2


def test_iterables_are_read_as_far_as_images_are_asked_for():
    def endless():
        while True:
            yield PIXELS

    found = find(endless())
    assert [str(next(found)) for _ in range(3)] == ["image 1", "image 2", "image 3"]


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("", ["an empty path"]),
        ("-", ["-: no such file"]),
        ("aGVsbG8=" * 100_000, ["no such file or directory"]),
        ([], ["an empty list"]),
        (iter(()), ["an empty .*iterator"]),
        (["nowhere.png"], ["nowhere.png: no such file"]),
        (None, ["type NoneType: not an image", "give paths"]),
        ([PIXELS, 3], ["type int: not an image"]),
        (PIXELS.astype(np.int64), ["image 1: an array of int64", "give bool, uint8"]),
        ([PIXELS, PIXELS.astype(complex)], ["image 2: an array of complex128", "give bool"]),
        (np.moveaxis(PIXELS, -1, 0), [r"array of uint8 \(3, 40, 64\)", "1, 3 or 4"]),
        (np.zeros((2, 3, 40, 64), np.uint8), [r"array of uint8 \(3, 40, 64\)", "width, 1, 3"]),
        (np.zeros((40, 64, 2), np.uint8), [r"uint8 \(40, 64, 2\)"]),
        (np.zeros((40, 64, 4)), ["image 1: float64 with transparency"]),
        (np.zeros((0, 40, 64, 3), np.uint8), [r"uint8 \(0, 40, 64, 3\)"]),
        (np.zeros((40, 0), np.uint8), [r"uint8 \(40, 0\)"]),
        (np.array(["a.png"]), ["an array of <U5"]),
        (io.StringIO("text"), ["image 1: a file that is opened as text", "'rb'"]),
        (io.BytesIO(), ["image 1: a file that is at its end", "'rb'"]),
    ],
)
def test_what_cannot_be_right_is_one_line(source, parts):
    with fails(*parts):
        list(find(source))


def test_files_that_cannot_be_decoded_are_told_of_by_their_place(tmp_path):
    first, second = find([PIXELS, b"no image"])
    open_image(first)
    with fails("image 2: cannot be decoded"):
        open_image(second)
    for path in rubbish.frames(tmp_path).values():
        with Image.open(path) as image, fails("image 1: has several frames or pages"):
            list(find(image))
    cut = Image.open(io.BytesIO(png()[:80]))
    with fails("image 1: cannot be decoded"):
        list(find(cut))
    with (tmp_path / "text").open("w") as file, fails("image 1: cannot be read", "open it with"):
        list(find(file))


def test_an_absolute_directory_is_one_source(tmp_path):
    path = trees.write(tmp_path / "a.png", PIXELS)
    assert list(find(str(tmp_path))) == list(find(tmp_path)) == [path]


def test_a_npy_file_has_no_other_order_of_colours(tmp_path):
    array = np.zeros((8, 8, 3), np.uint8)
    np.save(tmp_path / "a.npy", array)
    with fails(r"a\.npy: bgr is for arrays in memory: give numpy\.load"):
        list(find(tmp_path / "a.npy", bgr=True))
    with fails(r"image 1: bgr is for arrays"):
        list(find((tmp_path / "a.npy").read_bytes(), bgr=True))
    assert list(find(tmp_path / "a.npy")) == [tmp_path / "a.npy"]
