"""What a person looks at after a run: `report.html`, by `mtl_d2.report.page.write_report`, and the pictures in it."""
