"""The app: edits the expression of a face in a photo, in a browser. `make app` and a Space run this file.

`exprgan app` serves the same page. EXPRGAN_MODEL names the model: a folder, or org/name or org/name@revision on the Hub.
"""

from exprgan.ui.page import main

if __name__ == "__main__":
    main()
