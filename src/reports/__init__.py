"""One self-contained HTML page: pictures that enlarge, distributions, a table, the record.

Its face: `run_report.write_run_report` for infer_cis.py, `option.evaluation_report` for the
evaluation scripts, and `page.write_page`, which both fill. It may import `runs`, `cells` and
`utils`. The page needs no network; only the large pictures lie beside it.
"""
