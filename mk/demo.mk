# The main job: it comes with its content.
ifneq ($(wildcard ipcx/tour.py),)
demo: $(VENV)/.built ## build ipcx and run the lecture's programs: the tour
	@$(PY) -m ipcx tour
endif
