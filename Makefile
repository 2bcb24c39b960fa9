# Thinker. `make demo` and `make test` are all that a newcomer needs; `make help` lists the rest.
#
#   CUDA=0|1   forbid or force the CUDA backend (default: 1 where there are nvcc and a GPU of compute capability 8.0 or more)
#   CUDNN=0|1  forbid or force cuDNN's attention beside our own (default: where CUDNN_FRONTEND, a folder, has its headers)
#   SAN=1      address and undefined-behaviour sanitizers      DEBUG=1   no optimisation, symbols
#   BUILD=DIR  where everything is built (default: build)      V=1       print every command
#   BUNDLE=DIR headers and libraries that `make gpu-bundle` gathered, for a machine without Debian's packages
#   TRAIN=…    options of `thinker train` for smollm2, such as TRAIN="--set dtype=bf16"

Q := $(if $(filter 1,$(V)),,@)
say = @$(if $(filter 1,$(V)),:,echo "  $(1)")

NVCC  ?= $(firstword $(wildcard /usr/local/cuda/bin/nvcc) $(shell command -v nvcc 2>/dev/null))
# The GPUs' compute capabilities, such as 90 for 9.0, each once: CUDA's first GPU need not be the first that nvidia-smi
# tells of. Tensor cores multiply bf16 (mma) from 80 on; older ones are left out.
GPU_ARCH := $(if $(NVCC),$(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sed -n 's/^\([0-9]*\)\.\([0-9]\)$$/\1\2/p' | awk '$$1 >= 80' | sort -nu))
CUDA  ?= $(if $(GPU_ARCH),1,0)
BUILD ?= build
CUDA_HOME ?= $(patsubst %/bin/nvcc,%,$(NVCC))

# Kernels are compiled for speed; what parses and prints is compiled fast, with its largest header (JSON) parsed only once.
OPT_hot  := -O3
OPT_cold := -O1
CXXFLAGS ?= -march=native
# g++ 12 with -march=native stored {1, 1, 1, 0} as four ones: -fno-tree-slp-vectorize. Loops are still vectorised.
# g++ 12 warns of overlaps and overflows in plain string sums where there are none (GCC bug 105651): the two -Wno.
CXXFLAGS += -std=c++20 -fno-math-errno -fno-tree-slp-vectorize -Wall -Wextra -Werror -Wno-restrict -Wno-stringop-overflow -fopenmp -I. -MMD -MP
LDLIBS   += -ldnnl -lpcre2-8 -lcld2 -lcpp-httplib -lcrypto -fopenmp -lpthread
ifneq ($(BUNDLE),)
  # RPATH, not RUNPATH: the bundle's libraries load each other from it, too. A toolkit's own cuDNN comes first.
  CXXFLAGS += -isystem $(BUNDLE)/include -idirafter $(BUNDLE)/cuda-include
  LDLIBS += -L$(BUNDLE)/lib -Wl,--disable-new-dtags,-rpath,$(abspath $(BUNDLE)/lib),-rpath-link,$(BUNDLE)/lib
endif
ifeq ($(DEBUG),1)
  OPT_hot := -O0 -g
  OPT_cold := -O0 -g
  BUILD := $(BUILD)/debug
endif
ifeq ($(SAN),1)
  OPT_hot := -O1 -g
  OPT_cold := -O1 -g
  # Sanitizers' code makes g++ see uninitialised values where there are none, as its manual says.
  CXXFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -Wno-maybe-uninitialized
  LDLIBS   += -fsanitize=address,undefined
  BUILD := $(BUILD)/san
  export LSAN_OPTIONS = suppressions=tests/lsan.supp
endif

# A layer's objects: every .cpp in its folder and sub-folders, except CUDA's, which is chosen below.
LAYERS := tensor nn tokenizer tpo tools
sources = $(filter-out tensor/cuda/%,$(shell find $(1) -name '*.cpp' | LC_ALL=C sort))
objects = $(patsubst %,$(BUILD)/%.o,$(1))
$(foreach l,$(LAYERS),$(eval OBJ_$(l) := $(call objects,$(call sources,$(l)))))

, := ,
ifeq ($(CUDA),1)
  # The architectures of the GPUs here. Without one (CI): all that we support, and PTX of the newest for later cards.
  CUDA_ARCH ?= $(GPU_ARCH)
  GENCODE := $(foreach a,$(or $(CUDA_ARCH),80 86 89 90),-gencode arch=compute_$(a),code=sm_$(a)) \
    $(if $(CUDA_ARCH),,-gencode arch=compute_90$(,)code=compute_90)
  # cudnn-frontend has headers only, and loads cuDNN when the program starts: nothing of it is linked.
  CUDNN_FRONTEND ?= $(if $(BUNDLE),$(BUNDLE)/cuda-include,cudnn-frontend/include)
  CUDNN_HEADERS := $(wildcard $(CUDNN_FRONTEND)/cudnn_frontend.h)
  CUDNN_LIBRARY_HEADERS := $(wildcard $(foreach d,$(CUDNN_FRONTEND) $(CUDA_HOME)/include /usr/include,$(d)/cudnn.h))
  CUDNN ?= $(if $(and $(CUDNN_HEADERS),$(CUDNN_LIBRARY_HEADERS)),1,0)
  OBJ_cuda := $(call objects,$(shell find tensor/cuda -name '*.cu' -o -name '*.cpp' ! -name '*stub.cpp' | LC_ALL=C sort))
  ifneq ($(CUDNN),1)
    OBJ_cuda := $(OBJ_cuda:%/cudnn_attention.cpp.o=%/cudnn_attention_stub.cpp.o)
  endif
  LDLIBS += -L$(CUDA_HOME)/lib64 -Wl,-rpath,$(CUDA_HOME)/lib64 -lcublasLt -lcudart
else
  OBJ_cuda := $(call objects,tensor/cuda/stub.cpp)
endif

# What each layer's tests link: the layers below it and itself, so that an upward dependency does not even link.
LINK_tensor    := $(OBJ_tensor) $(OBJ_cuda)
LINK_nn        := $(LINK_tensor) $(OBJ_nn)
LINK_tokenizer := $(OBJ_tokenizer)
LINK_tpo       := $(LINK_nn) $(OBJ_tokenizer) $(OBJ_tpo)
LINK_tools     := $(LINK_tpo) $(filter-out %/thinker.cpp.o,$(OBJ_tools))
TESTS := $(LAYERS:%=$(BUILD)/test-%) $(BUILD)/test-gpu-emulation

.PHONY: all demo reproduce test bench bench-peers scaling smollm2 model gpu-bundle deps format check loc clean help
# A recipe that builds calls make again, so that it sees the headers that `deps` may just have installed.
JOBS ?= $(shell nproc)
again = @$(MAKE) --no-print-directory -j$(JOBS)

all: deps ## build build/thinker
	$(again) $(BUILD)/thinker

demo: deps ## the small-scale reproduction: one seed, two arms, a report, in minutes
	$(again) $(BUILD)/thinker
	$(BUILD)/thinker demo --quick

reproduce: deps ## all of it: three seeds, five arms; goes on from what `make demo` left
	$(again) $(BUILD)/thinker
	$(BUILD)/thinker demo

test: deps ## build and run all tests
	$(again) $(TESTS)
	@tests/run.sh $(TESTS)

bench: deps model ## speed of this machine and of SmolLM2 on it
	$(again) $(BUILD)/thinker
	$(BUILD)/thinker bench $(MODEL)

bench-peers: deps model ## side by side with PyTorch, transformers, TRL and llama.cpp (installs them into .venv-peers/)
	$(again) $(BUILD)/thinker
	tools/bench/peers.py --thinker $(BUILD)/thinker --model $(MODEL) --out $(BUILD)/bench-peers

scaling: deps ## how time and memory grow with length, batch and width: docs/scaling.svg (needs matplotlib, which bench-peers installs)
	$(again) $(BUILD)/thinker
	$(BUILD)/thinker bench --scaling > $(BUILD)/scaling.jsonl
	tools/bench/plot_scaling.py $(BUILD)/scaling.jsonl docs/scaling.svg

smollm2: deps model ## SmolLM2 with thoughts and without, on the CPU, and a page that compares them
	$(again) $(BUILD)/thinker
	for arm in smollm2-cpu smollm2-cpu-direct; do $(BUILD)/thinker train tools/recipes/$$arm.json --resume $(TRAIN) || exit 1; done
	$(BUILD)/thinker report runs/smollm2-cpu runs/smollm2-cpu-direct

MODEL := models/SmolLM2-135M-Instruct.Q4_1.gguf
model: $(MODEL) ## fetch SmolLM2-135M-Instruct (98 MB)
$(MODEL):
	tools/fetch_model.sh $@

CUDNN_FRONTEND_PACKAGE := nvidia-cudnn-frontend==1.32.0
cudnn-frontend: ## fetch the headers of cudnn-frontend (11 MB, through pip), for cuDNN's attention
	python3 -m pip download --no-deps --quiet --disable-pip-version-check --dest $@.part $(CUDNN_FRONTEND_PACKAGE)
	cd $@.part && python3 -m zipfile -e *.whl . && rm *.whl
	mv $@.part $@

gpu-bundle: ## what a GPU machine without network lacks, into gpu-bundle/; there, run tools/gpu_check.sh
	tools/gpu_bundle.sh gpu-bundle $(CUDNN_FRONTEND_PACKAGE)

deps: ## install what is missing (Debian packages)
	@tools/deps.sh

format: ## clang-format everything
	clang-format -i $$(git ls-files '*.h' '*.cpp' '*.cu' '*.cuh')

check: ## format, include directions, file sizes, a test for each op
	@tools/check.sh

loc: ## lines of code by folder
	@for d in tensor nn tokenizer tpo tools tests; do \
	  printf '%-10s %6d\n' $$d $$(git ls-files $$d | grep -E '\.(h|cpp|cu|cuh)$$' | xargs cat | wc -l); done

help: ## this list
	@sed -n '1,8p' Makefile; grep -hE '^[a-z0-9-]+:.*##' Makefile | sed 's/:.*##/\t/'; printf 'test-LAYER\t one layer alone: $(LAYERS) gpu-emulation\n'

# Programs are linked anew when CUDA is switched on or off: the file's name says which it was.
BACKEND := $(BUILD)/.cuda-$(CUDA)$(if $(filter 1,$(CUDNN)),-cudnn)
$(BACKEND):
	@mkdir -p $(BUILD)
	@rm -f $(BUILD)/.cuda-* && touch $@

$(BUILD)/thinker: $(LINK_tpo) $(OBJ_tools) $(BACKEND)
	$(call say,$@)
	$(Q)$(CXX) -o $@ $(filter %.o,$^) $(LDLIBS)

define test_program
$(BUILD)/test-$(1): $(call objects,tests/main.cpp $(call sources,tests/$(1))) $(LINK_$(1)) $(BACKEND)
	$$(call say,$$@)
	$$(Q)$(CXX) -o $$@ $$(filter %.o,$$^) $(LDLIBS)
.PHONY: test-$(1)
test-$(1): $(BUILD)/test-$(1)
	$$<
endef
$(foreach l,$(LAYERS),$(eval $(call test_program,$(l))))

# The CUDA backend once more, by the C++ compiler, with a GPU in software: the tests that compare devices, and a thinker
# whose `--device cuda` it is, to step through kernels.
ALIGNED := -fsanitize=alignment -fno-sanitize-recover=alignment# a GPU faults, too
emulated = $(patsubst %,$(BUILD)/emulated/%.o,$(1))
EMULATED := $(call emulated,$(filter-out %/stub.cpp %/cudnn_attention.cpp,$(wildcard tensor/cuda/*.cu tensor/cuda/*.cpp)) \
  $(patsubst %,tests/gpu_emulation/%.cpp,cublas_lt runtime threads))
$(BUILD)/test-gpu-emulation: $(EMULATED) $(call emulated,$(patsubst %,tests/gpu_emulation/%.cpp,main strictness)) \
    $(call objects,$(patsubst %,tests/%.cpp,tensor/cuda tensor/cuda_memory nn/device nn/goldens nn/lora tpo/device tpo/training_goldens)) \
    $(filter-out $(OBJ_cuda),$(LINK_tpo))
$(BUILD)/thinker-emulated: $(EMULATED) $(filter-out $(OBJ_cuda),$(LINK_tpo)) $(OBJ_tools)
$(BUILD)/test-gpu-emulation $(BUILD)/thinker-emulated:
	$(call say,$@)
	$(Q)$(CXX) -o $@ $(filter %.o,$^) $(LDLIBS) $(ALIGNED)
.PHONY: test-gpu-emulation
test-gpu-emulation: $(BUILD)/test-gpu-emulation
	$<

# Not with the address sanitizer, which takes a change of stacks for an error.
$(BUILD)/emulated/%.o: %
	@mkdir -p $(@D)
	$(call say,$< (emulated))
	$(Q)$(CXX) -x c++ $(OPT_hot) -Itests/gpu_emulation $(subst address$(,),,$(CXXFLAGS)) $(ALIGNED) -Wno-unknown-pragmas -include tests/gpu_emulation/cuda_runtime.h -c -o $@ $<

$(BUILD)/prelude.h.gch: tools/prelude.h
	@mkdir -p $(@D)
	$(call say,$<)
	$(Q)$(CXX) $(OPT_cold) $(CXXFLAGS) -x c++-header -o $@ $<

COLD := $(foreach l,tpo tools tests,$(call sources,$(l))) \
  $(shell grep -lrE --include='*.cpp' 'nlohmann/json.hpp|nn/json_file.h' tensor nn tokenizer)
$(call objects,$(COLD)): $(BUILD)/%.cpp.o: %.cpp $(BUILD)/prelude.h.gch
	@mkdir -p $(@D)
	$(call say,$<)
	$(Q)$(CXX) $(OPT_cold) $(CXXFLAGS) -include $(BUILD)/prelude.h -c -o $@ $<

# Its headers are not ours to warn about, and slow to optimise. A toolkit's own cuDNN comes before a bundle's.
$(BUILD)/tensor/cuda/cudnn_attention.cpp.o: tensor/cuda/cudnn_attention.cpp
	@mkdir -p $(@D)
	$(call say,$<)
	$(Q)$(CXX) $(OPT_cold) $(CXXFLAGS) $(if $(filter-out /usr,$(CUDA_HOME)),-isystem $(CUDA_HOME)/include) -isystem $(CUDNN_FRONTEND) -c -o $@ $<

$(BUILD)/tensor/cuda/%.cpp.o: tensor/cuda/%.cpp
	@mkdir -p $(@D)
	$(call say,$<)
	$(Q)$(CXX) $(OPT_hot) $(CXXFLAGS) $(if $(CUDA_HOME),-I$(CUDA_HOME)/include) -c -o $@ $<

$(BUILD)/%.cpp.o: %.cpp
	@mkdir -p $(@D)
	$(call say,$<)
	$(Q)$(CXX) $(OPT_hot) $(CXXFLAGS) -c -o $@ $<

$(BUILD)/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(call say,$<)
	$(Q)$(NVCC) -O3 -std=c++20 $(GENCODE) -I. -MMD -MP -Xcompiler -Wall,-Wextra,-Werror -t 0 -c -o $@ $<

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

clean: ## remove everything that was built
	rm -rf $(BUILD)
