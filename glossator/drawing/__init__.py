"""Drawing of features and figures as HTML and SVG."""
