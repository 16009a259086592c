"""One self-contained HTML page that shows a run: pictures, distributions, a table, its record.

Its face: `run_report.write_run_report`, `page.write_page`, `page.Page`, `page.ReportImage` and
`charts.Chart`. It may import `runs`, `cells` and `utils`. The page
needs no network; what it shows large lies beside it.
"""
