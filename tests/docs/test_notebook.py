"""docs/notebook.ipynb runs from top to bottom, and is kept with its outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

DOCS = Path(__file__).parents[2] / 'docs'
FUNCTIONS = ('open_network', 'degrade', 'upscale', 'evaluate', 'ablate', 'saliency', 'attribution', 'clusters')


def outputs(notebook, kind):
    return [output for cell in notebook.cells for output in cell.get('outputs', ()) if kind in output.get('data', ())]


def test_it_shows_every_function_and_is_kept_with_pictures_and_tables():
    notebook = nbformat.read(DOCS / 'notebook.ipynb', as_version=4)
    code = '\n'.join(cell.source for cell in notebook.cells if cell.cell_type == 'code')
    assert all(f'reflash_sr.{name}(' in code for name in FUNCTIONS)
    assert len(outputs(notebook, 'image/png')) >= 5
    assert len(outputs(notebook, 'text/html')) >= 2


@pytest.mark.slow
def test_it_runs():
    notebook = nbformat.read(DOCS / 'notebook.ipynb', as_version=4)
    kept = len(outputs(notebook, 'image/png'))
    NotebookClient(notebook, timeout=300, resources={'metadata': {'path': str(DOCS)}}).execute()  # raises on any error
    assert len(outputs(notebook, 'image/png')) == kept
