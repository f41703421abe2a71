"""Write the table that `digitfast models` prints, digitfast/pages/models.json: `python benchmarks/models.py`

Run it after you change an architecture or a recipe. A test compares the file with the counts."""
import json
from pathlib import Path
from digitfast.tasks.list_models import count_models

if __name__=='__main__':
    path = Path(__file__).resolve().parent.parent/'digitfast'/'pages'/'models.json'
    path.write_text(json.dumps(count_models(), indent=1, ensure_ascii=False)+'\n', 'utf-8')
    print(path)
