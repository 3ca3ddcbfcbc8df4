"""A model that leaves the matrix takes its products along; put back, they are right, whatever was left of them."""

from __future__ import annotations

from fault_graph import Graph

LEFTOVERS = "weights-m2", "compile-m2-b0"


def test_products_leave_and_come_back_from_the_store(built_graph: Graph):
    built_graph.resize(2, 4)
    run = built_graph.ok()
    assert built_graph.is_right(), "something of the model stayed"
    assert "join:weights-m2 is no longer in targets.yaml" in run.output
    assert not built_graph.path("build/out/weights-m2").exists()
    built_graph.ran()
    built_graph.resize(3, 4)
    assert not built_graph.ok().built
    assert built_graph.is_right()
    assert not built_graph.ran()


def test_an_edited_leftover_is_not_built_upon(built_graph: Graph):
    for name in LEFTOVERS:
        built_graph.path(f"build/out/{name}").write_text("edited\n")
    built_graph.resize(2, 4)
    built_graph.ok()
    assert built_graph.is_right()
    for name in LEFTOVERS:
        built_graph.write(f"build/out/{name}", "edited once more\n")
    built_graph.resize(3, 4)
    built_graph.ok()
    assert built_graph.is_right()


def test_gone_and_back_without_a_run_between(built_graph: Graph):
    built_graph.path("build/out/weights-m2").write_text("edited\n")
    built_graph.resize(2, 4)
    built_graph.resize(3, 4)
    built_graph.ok()
    assert built_graph.is_right()


def test_back_with_another_source(built_graph: Graph):
    built_graph.resize(2, 4)
    built_graph.ok()
    built_graph.write("src/m2.txt", "second\n")
    built_graph.resize(3, 4)
    built_graph.ok()
    assert built_graph.is_right()


def test_a_backend_leaves_and_comes_back(built_graph: Graph):
    built_graph.resize(3, 2)
    built_graph.ok()
    assert built_graph.is_right()
    assert built_graph.ok().idle
    built_graph.ran()
    built_graph.resize(3, 4)
    built_graph.ok()
    assert built_graph.is_right()
    assert not built_graph.ran()


def test_a_file_of_somebody_else_stays(built_graph: Graph):
    notes = built_graph.write("build/out/notes.txt", "mine\n")
    built_graph.resize(2, 4)
    built_graph.ok()
    assert notes.read_text() == "mine\n"
