"""The networks of sweep.py: random weights, small sizes, by library. Each builder gives a module in evaluation mode and its inputs by name.

torchvision and timm: one member of each family or more. transformers: each architecture that AutoModel knows, with a configuration of a few thousand
weights. torch.nn: single layers that networks have."""
import contextlib
import warnings

# Input size in pixels.
TORCHVISION = {
    "alexnet": 224, "convnext_tiny": 64, "densenet121": 64, "efficientnet_b0": 64, "efficientnet_v2_s": 64, "googlenet": 64, "inception_v3": 128,
    "maxvit_t": 224, "mnasnet0_5": 64, "mnasnet1_0": 64, "mobilenet_v2": 64, "mobilenet_v3_large": 64, "mobilenet_v3_small": 64, "regnet_x_400mf": 64,
    "regnet_y_400mf": 64, "resnet18": 64, "resnet50": 64, "resnext50_32x4d": 64, "shufflenet_v2_x0_5": 64, "shufflenet_v2_x1_0": 64,
    "squeezenet1_0": 64, "squeezenet1_1": 64, "swin_t": 64, "swin_v2_t": 64, "vgg11": 64, "vgg11_bn": 64, "vit_b_32": 64, "wide_resnet50_2": 64,
    "segmentation.fcn_resnet50": 64, "segmentation.deeplabv3_mobilenet_v3_large": 64, "segmentation.lraspp_mobilenet_v3_large": 64,
    "segmentation.deeplabv3_resnet50": 64, "video.r3d_18": 56, "video.mc3_18": 56, "video.r2plus1d_18": 56, "video.s3d": 224, "backbone.resnet18_fpn": 64,
    "backbone.mobilenet_v3_large_fpn": 64,
}  # fmt: skip

# The member of each timm family (module of timm.models) with the fewest weights; 0: the size that the network was made for.
TIMM = {
    "beit_base_patch16_224": 64, "botnet26t_256": 0, "caformer_s18": 64, "cait_xxs24_224": 64, "coat_lite_tiny": 0, "convformer_s18": 64,
    "convit_tiny": 0, "convmixer_768_32": 64, "convnext_atto": 64, "convnextv2_atto": 64, "crossvit_9_240": 0, "cs3darknet_s": 64, "cspresnet50": 64,
    "darknet17": 64, "davit_tiny": 64, "deit_tiny_distilled_patch16_224": 64, "deit3_small_patch16_224": 64, "densenet121": 64, "dla34": 64, "dpn48b": 64,
    "eca_nfnet_l0": 64, "edgenext_xx_small": 64, "efficientformer_l1": 0, "efficientformerv2_s0": 0, "efficientnet_b0": 64, "efficientvit_b0": 64,
    "efficientvit_m0": 0, "eva02_tiny_patch14_224": 0, "fasternet_t0": 64, "fastvit_t8": 64, "fbnetc_100": 64, "focalnet_tiny_srf": 64,
    "gcvit_xxtiny": 0, "gernet_s": 64, "ghostnet_050": 64, "ghostnetv2_100": 64, "gmlp_ti16_224": 0, "hardcorenas_a": 64, "hgnet_tiny": 64,
    "hgnetv2_b0": 64, "hiera_tiny_224": 0, "hrnet_w18_small": 64, "inception_next_atto": 64, "inception_resnet_v2": 128, "inception_v4": 128,
    "lambda_resnet26t": 64, "lcnet_035": 64, "legacy_seresnet18": 64, "levit_128s": 0, "mambaout_femto": 64, "maxvit_rmlp_pico_rw_256": 0, "mixer_s32_224": 0,
    "mixnet_s": 64, "mobilenetv2_035": 64, "mobilenetv3_small_050": 64, "mobilenetv4_conv_small_035": 64, "mobilenetv5_300m": 0, "mobileone_s0": 64, "mobilevit_xxs": 64,
    "mobilevitv2_050": 64, "mvitv2_tiny": 64, "nest_tiny": 0, "nf_resnet26": 64, "nextvit_small": 64, "pit_ti_224": 0, "pnasnet5large": 96,
    "poolformer_s12": 64, "poolformerv2_s12": 64, "pvt_v2_b0": 64, "rdnet_tiny": 64, "regnetx_002": 64, "regnetz_005": 64, "repghostnet_050": 64,
    "repvgg_a0": 64, "repvit_m0_9": 64, "res2net50_14w_8s": 64, "resmlp_12_224": 0, "resnest14d": 64, "resnet18": 64, "resnetv2_18": 64, "rexnet_100": 64,
    "samvit_base_patch16": 0, "selecsls42": 64, "semnasnet_075": 64, "senet154": 64, "sequencer2d_s": 0, "shvit_s1": 64, "skresnet18": 64, "spnasnet_100": 64,
    "starnet_s050": 64, "swiftformer_xs": 64, "swin_tiny_patch4_window7_224": 0, "swin_s3_tiny_224": 0, "swinv2_cr_tiny_ns_224": 0,
    "swinv2_tiny_window8_256": 0, "tf_efficientnet_lite0": 64, "tiny_vit_5m_224": 0, "tinynet_e": 64, "tnt_s_patch16_224": 0, "tresnet_m": 64,
    "twins_pcpvt_small": 64, "vgg11": 64, "visformer_tiny": 0, "vit_tiny_patch16_224": 64, "vit_relpos_small_patch16_224": 0, "vitamin_small_224": 0,
    "volo_d1_224": 0, "vovnet39a": 64, "xception41": 64, "xcit_nano_12_p16_224": 64,
    "test_byobnet": 0, "test_convnext": 0, "test_convnext2": 0, "test_convnext3": 0, "test_efficientnet": 0, "test_efficientnet_gn": 0,
    "test_efficientnet_evos": 0, "test_mambaout": 0, "test_nfnet": 0, "test_resnet": 0, "test_vit": 0, "test_vit2": 0, "test_vit3": 0, "test_vit4": 0,
}  # fmt: skip

# Sizes that configurations of transformers have under one of these names.
TINY = {
    "vocab_size": 99, "hidden_size": 32, "d_model": 32, "n_embd": 32, "dim": 32, "embed_dim": 32, "hidden_dim": 32, "embedding_size": 32,
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "encoder_layers": 2, "decoder_layers": 2, "num_decoder_layers": 2,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 64, "d_ff": 64, "d_kv": 8, "ffn_dim": 64, "n_inner": 64, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
    "head_dim": 8, "max_position_embeddings": 64, "n_positions": 64, "type_vocab_size": 2, "image_size": 32, "patch_size": 8, "num_channels": 3,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    "entity_vocab_size": 50, "entity_emb_size": 32, "num_experts": 4, "num_local_experts": 4, "moe_intermediate_size": 32, "layer_types": None, "rotary_dim": 8,
}  # fmt: skip

# Sizes that have to fit each other: arguments of the configurations, which stay as they are here.
STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
HEADS = {**STAGES, "num_attention_heads": [1, 2, 2, 4], "image_size": 64}
WINDOWS = {"embed_dim": 16, "depths": [1, 2], "num_heads": [2, 4], "window_size": 4, "image_size": 32, "patch_size": 4}
RESNET = {"model_type": "resnet", "embedding_size": 8, **STAGES, "out_features": ["stage2", "stage3", "stage4"]}
SERIES = {"prediction_length": 4, "context_length": 8, "lags_sequence": [1, 2], "num_time_features": 2}
GIVEN = {
    "bit": {"embedding_size": 32, "hidden_sizes": [128, 128, 128, 128], "depths": [1, 1, 1, 1], "image_size": 64},
    "convnext": STAGES, "convnextv2": STAGES, "cvt": {"embed_dim": [16, 32, 48], "num_heads": [1, 2, 3], "depth": [1, 2, 3]},
    "dinov3_convnext": STAGES, "donut-swin": WINDOWS, "dpt": {"hidden_size": 32, "image_size": 64, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3]},
    "efficientnet": {"width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320, "image_size": 64}, "esm": {"vocab_size": 99, "pad_token_id": 0, "mask_token_id": 4},
    "focalnet": {"embed_dim": 16, **STAGES, "image_size": 64}, "glpn": HEADS, "hiera": {"embed_dim": 16, "depths": [1, 1, 1, 1], "image_size": [64, 64], "patch_stride": [4, 4]},
    "layoutlmv3": {"input_size": 32, "coordinate_size": 6, "shape_size": 4}, "levit": {"hidden_sizes": [32, 48, 64], "num_attention_heads": [2, 3, 4], "depths": [1, 1, 1], "image_size": 64, "patch_size": 16},
    "lilt": {"channel_shrink_ratio": 4, "hidden_size": 48}, "informer": SERIES, "mobilenet_v1": {"depth_multiplier": 0.25, "image_size": 64}, "mobilenet_v2": {"depth_multiplier": 0.35, "image_size": 64},
    "mobilevit": {"hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 24, 32, 48], "image_size": 64, "patch_size": 2}, "mobilevitv2": {"width_multiplier": 0.25, "image_size": 64, "patch_size": 2},
    "perceiver": {"d_model": 16, "num_latents": 8, "d_latents": 32, "num_self_attends_per_block": 2, "num_self_attention_heads": 4, "num_cross_attention_heads": 4},
    "poolformer": STAGES, "pvt": HEADS, "pvt_v2": {**HEADS, "num_attention_heads": [1, 2, 2, 4]}, "reformer": {"axial_pos_shape": [4, 4], "axial_pos_embds_dim": [8, 24], "feed_forward_size": 64, "attn_layers": ["local", "local"]},
    "regnet": {"embedding_size": 8, **STAGES, "groups_width": 8}, "resnet": {"embedding_size": 8, **STAGES}, "segformer": HEADS,
    "swiftformer": {"embed_dims": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "image_size": 64}, "swin": WINDOWS, "swin2sr": {**WINDOWS, "num_heads": [2, 2], "patch_size": 1}, "swinv2": WINDOWS,
    "encodec": {"hidden_size": 32, "codebook_dim": 32, "num_filters": 4}, "textnet": {"image_size": [64, 64]},
    "align": {"projection_dim": 80, "vision_config": {"width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320, "image_size": 64}},
    "conditional_detr": {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None, "backbone_config": RESNET, "num_queries": 10},
    "deformable_detr": {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None, "backbone_config": RESNET, "num_queries": 10},
    "detr": {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None, "backbone_config": RESNET, "num_queries": 10},
    "table-transformer": {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None, "backbone_config": RESNET, "num_queries": 10},
    "time_series_transformer": SERIES, "blip_2_qformer": {"encoder_hidden_size": 32}, "vitdet": {"window_size": 2, "window_block_indices": [0], "residual_block_indices": []},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}, "mamba2": {"hidden_size": 32, "num_hidden_layers": 2, "num_heads": 8, "head_dim": 8, "state_size": 4, "n_groups": 2, "chunk_size": 8},
    "olmoe": {"num_experts_per_tok": 2}, "qwen3_moe": {"num_experts_per_tok": 2}, "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "recurrent_gemma": {"hidden_size": 32, "num_hidden_layers": 3, "lru_width": 32}, "patchtst": {"context_length": 32, "patch_length": 4, "patch_stride": 4, "num_input_channels": 2},
    "patchtsmixer": {"context_length": 32, "patch_length": 4, "patch_stride": 4, "num_input_channels": 2}, "siglip": {"text_config": {"hidden_size": 32, "projection_size": 32}, "vision_config": {"hidden_size": 32}}, "audio-spectrogram-transformer": {"max_length": 64, "num_mel_bins": 32},
    "led": {"attention_window": [8, 8]}, "longformer": {"attention_window": [8, 8]},
    "hgnet_v2": {"stem_channels": [3, 8, 12], "stage_in_channels": [12, 16, 24, 32], "stage_mid_channels": [8, 8, 12, 16], "stage_out_channels": [16, 24, 32, 48], "hidden_sizes": [16, 24, 32, 48]},
    **{n: {"conv_dim": [16] * 7} for n in ("data2vec-audio", "hubert", "unispeech", "unispeech-sat", "wav2vec2", "wavlm", "wav2vec2-conformer")},
}  # fmt: skip

# PyTorch's gradients are no derivatives.
INCOMPARABLE = {"transformers/yoso": "its backward in PyTorch is a formula of its own, and not the derivative of its forward"}

TRANSFORMERS = [
    "albert", "bart", "beit", "bert", "bert-generation", "big_bird", "biogpt", "bit", "blenderbot", "bloom", "camembert", "canine", "clip_text_model",
    "clip_vision_model", "codegen", "cohere", "convbert", "convnext", "convnextv2", "ctrl", "cvt", "data2vec-audio", "data2vec-text", "data2vec-vision",
    "deberta", "deberta-v2", "deit", "dinov2", "dinov2_with_registers", "distilbert", "dpr", "dpt", "efficientnet", "electra", "ernie", "esm", "falcon",
    "flaubert", "fnet", "focalnet", "funnel", "gemma", "gemma2", "glm", "glpn", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj", "granite", "hiera",
    "hubert", "ibert", "ijepa", "levit", "llama", "longt5", "luke", "m2m_100", "marian", "mbart", "megatron-bert", "mistral", "mobilebert", "mobilenet_v1",
    "mobilenet_v2", "mobilevit", "mobilevitv2", "modernbert", "mpnet", "mpt", "mra", "mt5", "mvp", "nystromformer", "olmo", "olmo2", "openai-gpt", "opt",
    "pegasus", "persimmon", "phi", "phi3", "poolformer", "pvt", "pvt_v2", "qwen2", "qwen3", "regnet", "rembert", "resnet", "roberta",
    "roberta-prelayernorm", "roformer", "segformer", "siglip_vision_model", "smollm3", "splinter", "squeezebert", "stablelm", "starcoder2",
    "swiftformer", "swin", "swin2sr", "swinv2", "t5", "timesformer", "umt5", "unispeech", "vit", "vit_mae", "vit_msn", "vivit", "wav2vec2", "wavlm",
    "whisper", "xglm", "xlm", "xlm-roberta", "xlm-roberta-xl", "xlnet", "xmod", "yolos", "yoso",
    # Texts and images, layouts, sounds.
    "align", "altclip", "blip", "blip_2_qformer", "chinese_clip", "clip", "clipseg", "flava", "git", "groupvit", "layoutlm",
    "layoutlmv3", "lilt", "lxmert", "markuplm", "owlvit", "owlv2", "siglip", "tapas", "vilt", "visual_bert", "xclip",
    # More of each kind.
    "aimv2_vision_model", "apertus", "arcee", "audio-spectrogram-transformer", "bigbird_pegasus", "bitnet", "blenderbot-small", "cohere2",
    "conditional_detr", "cpmant", "decision_transformer", "deformable_detr", "detr", "diffllama", "dinov3_convnext", "dinov3_vit",
    "donut-swin", "encodec", "ernie4_5", "eurobert", "exaone4", "fsmt", "gemma3_text", "glm4", "gpt_neox_japanese", "gpt_oss", "granitemoe", "helium",
    "hgnet_v2", "imagegpt", "informer", "led", "longformer", "mamba", "mamba2", "mixtral", "mlcd_vision_model", "modernbert-decoder", "moonshine",
    "nemotron", "nomic_bert", "olmo3", "olmoe", "patchtsmixer", "patchtst", "pegasus_x", "perceiver", "plbart", "prophetnet", "qwen2_moe", "qwen3_moe",
    "recurrent_gemma", "reformer", "roc_bert", "rwkv", "sam_vision_model", "seed_oss", "sew", "sew-d", "speech_to_text", "switch_transformers",
    "table-transformer", "textnet", "time_series_transformer", "unispeech-sat", "vaultgemma", "videomae", "vitdet", "wav2vec2-bert",
    "wav2vec2-conformer",
]  # fmt: skip


def layers():
    """Single layers of torch.nn with an input shape each."""
    import torch
    from torch import nn

    class Wrap(nn.Module):
        def __init__(self, function, *modules):
            super().__init__()
            self.inner, self.function = nn.ModuleList(modules), function

        def forward(self, x):
            return self.function(x, *self.inner)

    def after_linear(layer, features=8):
        return nn.Sequential(nn.Linear(features, features), layer)

    def after_conv(layer, channels=8):
        return nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), layer)

    made = {}
    for name in ("ReLU", "ReLU6", "LeakyReLU", "ELU", "CELU", "SELU", "GELU", "SiLU", "Mish", "Hardswish", "Hardsigmoid", "Hardtanh", "Hardshrink", "Softshrink",
                 "Tanhshrink", "Softplus", "Softsign", "Tanh", "Sigmoid", "LogSigmoid", "PReLU", "GLU", "Threshold"):  # fmt: skip
        layer = nn.Threshold(0.1, 0.0) if name == "Threshold" else getattr(nn, name)()
        made[name] = (after_linear(layer), (8,))
    made["GELU-tanh"] = (after_linear(nn.GELU(approximate="tanh")), (8,))
    made["Softmax"], made["LogSoftmax"] = (after_linear(nn.Softmax(-1)), (8,)), (after_linear(nn.LogSoftmax(-1)), (8,))
    made["LayerNorm"], made["RMSNorm"] = (after_linear(nn.LayerNorm(8)), (5, 8)), (after_linear(nn.RMSNorm(8)), (5, 8))
    made["BatchNorm1d"] = (after_linear(nn.BatchNorm1d(8)), (8,))
    made["GroupNorm"], made["InstanceNorm2d"] = (after_conv(nn.GroupNorm(4, 8)), (3, 8, 8)), (after_conv(nn.InstanceNorm2d(8, affine=True)), (3, 8, 8))
    made["LocalResponseNorm"] = (after_conv(nn.LocalResponseNorm(3)), (3, 8, 8))
    for name in ("MaxPool2d", "AvgPool2d"):
        made[name] = (after_conv(getattr(nn, name)(3, 2, 1)), (3, 9, 9))
        made[f"{name}-ceil"] = (after_conv(getattr(nn, name)(3, 2, ceil_mode=True)), (3, 8, 8))
    made["LPPool2d"] = (after_conv(nn.LPPool2d(2, 2)), (3, 8, 8))
    made["AdaptiveAvgPool2d"], made["AdaptiveMaxPool2d"] = (after_conv(nn.AdaptiveAvgPool2d(2)), (3, 8, 8)), (after_conv(nn.AdaptiveMaxPool2d(1)), (3, 8, 8))
    for mode in ("nearest", "bilinear", "bicubic"):
        made[f"Upsample-{mode}"] = (after_conv(nn.Upsample(scale_factor=2, mode=mode)), (3, 6, 6))
    made["Upsample-corners"] = (after_conv(nn.Upsample(size=(11, 9), mode="bilinear", align_corners=True)), (3, 6, 6))
    for name in ("ReflectionPad2d", "ReplicationPad2d", "ZeroPad2d", "CircularPad2d"):
        made[name] = (after_conv(getattr(nn, name)((1, 2, 2, 1))), (3, 6, 6))
    made["PixelShuffle"], made["PixelUnshuffle"] = (after_conv(nn.PixelShuffle(2)), (3, 6, 6)), (after_conv(nn.PixelUnshuffle(2)), (3, 6, 6))
    made["ChannelShuffle"] = (after_conv(nn.ChannelShuffle(4)), (3, 6, 6))
    made["ConvTranspose2d"] = (nn.ConvTranspose2d(3, 5, 3, stride=2, padding=1, output_padding=1), (3, 6, 6))
    made["ConvTranspose2d-groups"] = (nn.ConvTranspose2d(4, 8, 4, stride=2, groups=2, dilation=2), (4, 6, 6))
    made["ConvTranspose1d"] = (nn.ConvTranspose1d(3, 5, 4, stride=2), (3, 9))
    made["Conv1d"], made["Conv3d"] = (nn.Conv1d(3, 5, 3, padding=1), (3, 16)), (nn.Conv3d(3, 5, 3, stride=2, padding=1), (3, 6, 7, 8))
    made["Conv2d-dilated"] = (nn.Conv2d(3, 6, 3, padding=2, dilation=2, groups=3), (3, 8, 8))
    made["MaxPool3d"] = (nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.MaxPool3d(2)), (2, 6, 6, 6))
    made["LSTM"] = (Wrap(lambda x, m: m(x)[0], nn.LSTM(6, 5, batch_first=True)), (7, 6))
    made["LSTM-bidirectional"] = (Wrap(lambda x, m: m(x)[0], nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)), (7, 6))
    made["GRU"], made["RNN"] = (Wrap(lambda x, m: m(x)[0], nn.GRU(6, 5, batch_first=True)), (7, 6)), (Wrap(lambda x, m: m(x)[0], nn.RNN(6, 5, batch_first=True)), (7, 6))
    made["MultiheadAttention"] = (Wrap(lambda x, m: m(x, x, x)[0], nn.MultiheadAttention(8, 2, batch_first=True)), (5, 8))
    made["TransformerEncoderLayer"] = (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (5, 8))
    made["TransformerDecoderLayer"] = (Wrap(lambda x, m: m(x, x), nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)), (5, 8))
    made["Bilinear"] = (Wrap(lambda x, m: m(x, x), nn.Bilinear(4, 4, 5)), (4,))
    made["CosineSimilarity"] = (Wrap(lambda x, m: nn.functional.cosine_similarity(m(x), x, dim=-1), nn.Linear(8, 8)), (8,))
    made["normalize"] = (Wrap(lambda x, m: nn.functional.normalize(m(x), dim=-1), nn.Linear(8, 8)), (8,))
    made["logsumexp"] = (Wrap(lambda x, m: torch.logsumexp(m(x), -1, keepdim=True), nn.Linear(8, 8)), (8,))
    made["einsum"] = (Wrap(lambda x, m: torch.einsum("bij,bkj->bik", m(x), x), nn.Linear(8, 8)), (5, 8))
    made["cumsum"] = (Wrap(lambda x, m: torch.cumsum(m(x), 1), nn.Linear(8, 8)), (5, 8))
    made["masked-fill"] = (Wrap(lambda x, m: torch.softmax(m(x).masked_fill(x > 0.5, float("-inf")), -1), nn.Linear(8, 8)), (8,))
    made["grid-sample"] = (Wrap(lambda x, m: nn.functional.grid_sample(x, torch.tanh(m(x))[:, :2].permute(0, 2, 3, 1), align_corners=False), nn.Conv2d(3, 3, 1)), (3, 6, 6))
    made["fold"] = (Wrap(lambda x, m: nn.functional.fold(nn.functional.unfold(m(x), 2, stride=2), (6, 6), 2, stride=2), nn.Conv2d(3, 3, 1)), (3, 6, 6))
    return made


def build_torchvision(name, size):
    import torch
    import torchvision

    kwargs = {"weights": None}
    x = torch.rand(2, 3, size, size)
    if name.startswith("segmentation."):
        return getattr(torchvision.models.segmentation, name.split(".")[1])(weights=None, weights_backbone=None, num_classes=5), {"x": x}
    if name.startswith("video."):
        return getattr(torchvision.models.video, name.split(".")[1])(weights=None), {"x": torch.rand(2, 3, 16 if name.endswith("s3d") else 8, size, size)}
    if name.startswith("backbone."):
        utilities = torchvision.models.detection.backbone_utils
        backbone = name.split(".")[1].removesuffix("_fpn")
        make = utilities.mobilenet_backbone if "mobilenet" in backbone else utilities.resnet_fpn_backbone
        more = {"fpn": True} if "mobilenet" in backbone else {}
        return make(backbone_name=backbone, weights=None, trainable_layers=5 if not more else 6, **more), {"x": x}
    if name in ("googlenet", "inception_v3"):
        kwargs.update(aux_logits=False, init_weights=False)
    if name.startswith("vit_"):
        kwargs["image_size"] = size
    return getattr(torchvision.models, name)(**kwargs), {"x": x}


def build_timm(name, size):
    import timm
    import torch

    module = None
    if size:
        with contextlib.suppress(TypeError, AssertionError):
            module = timm.create_model(name, pretrained=False, img_size=size)
    if module is None:
        module = timm.create_model(name, pretrained=False)
    size = size or module.default_cfg["input_size"][-1]
    return module, {"x": torch.rand(2, module.default_cfg["input_size"][0], size, size)}


def shrunk(config, stay=()):
    """The configuration with few and small layers, its parts too."""
    for key, value in TINY.items():
        if key in stay:
            continue
        have = getattr(config, key, None)
        if key == "layer_types":
            if have:
                with contextlib.suppress(AttributeError):  # some derive it
                    config.layer_types = have[:2]
        elif isinstance(have, (int, float)) and not isinstance(have, bool):
            with contextlib.suppress(Exception):
                setattr(config, key, value)
    for part in vars(config).values():
        if hasattr(part, "to_dict") and part.model_type not in ("resnet", "align_vision_model"):
            shrunk(part)
    return config


def unusual_inputs(name, config):
    """Of networks whose inputs have names or shapes of their own."""
    import torch

    if name in ("informer", "time_series_transformer"):
        past = config.context_length + max(config.lags_sequence)
        return {"past_values": torch.rand(2, past), "past_time_features": torch.rand(2, past, 2), "past_observed_mask": torch.ones(2, past),
                "future_values": torch.rand(2, 4), "future_time_features": torch.rand(2, 4, 2)}  # fmt: skip
    if name == "blip_2_qformer":
        return {"query_embeds": torch.rand(2, 4, 32), "encoder_hidden_states": torch.rand(2, 6, 32)}
    if name == "decision_transformer":
        return {"states": torch.rand(2, 5, config.state_dim), "actions": torch.rand(2, 5, config.act_dim), "rewards": torch.rand(2, 5, 1),
                "returns_to_go": torch.rand(2, 5, 1), "timesteps": torch.arange(5).repeat(2, 1), "attention_mask": torch.ones(2, 5)}  # fmt: skip
    if name == "encodec":
        return {"input_values": torch.rand(2, 1, 2000)}
    if name == "lxmert":
        return {"input_ids": torch.randint(3, 90, (2, 16)), "visual_feats": torch.rand(2, 5, config.visual_feat_dim), "visual_pos": torch.rand(2, 5, 4)}
    if name in ("patchtst", "patchtsmixer"):
        return {"past_values": torch.rand(2, config.context_length, config.num_input_channels)}
    if name == "perceiver":
        return {"inputs": torch.rand(2, 16, config.d_model)}
    return {}


def build_transformers(name, _):
    import inspect

    import torch
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    given = GIVEN.get(name, {})
    config = CONFIG_MAPPING[name](**given)
    stages = name == "funnel" or "depths" in given  # layers are counted by a list
    shrunk(config, {*given, *(["num_hidden_layers"] if stages else [])})
    config.use_cache = False
    config._attn_implementation = "eager"
    module = transformers.AutoModel.from_config(config)
    if name == "xmod":
        module.set_default_language("en_XX")
    special = unusual_inputs(name, config)
    if special:
        return module, special
    wanted = inspect.signature(module.forward).parameters
    kind = module.main_input_name
    inputs = {}
    if kind in ("input_ids", "inputs") or ("input_ids" in wanted and "pixel_values" in wanted):
        inputs["input_ids" if "input_ids" in wanted else kind] = torch.randint(3, 90, (2, 16))
        if "attention_mask" in wanted:
            inputs["attention_mask"] = torch.ones(2, 16, dtype=torch.int64)
            inputs["attention_mask"][1, 12:] = 0
    if "bbox" in wanted:
        corner = torch.randint(0, 40, (2, 16, 2))
        inputs["bbox"] = torch.cat([corner, corner + torch.randint(1, 20, (2, 16, 2))], -1)
    if kind == "pixel_values" or "pixel_values" in wanted:
        vision = getattr(config, "vision_config", getattr(config, "image_config", config))
        size = getattr(vision, "image_size", 64)
        size = size if isinstance(size, (list, tuple)) else (size, size)
        frames = [getattr(vision, "num_frames", 2)] if name in ("timesformer", "vivit", "xclip", "videomae") else []
        inputs["pixel_values"] = torch.rand(2, *frames, getattr(vision, "num_channels", 3), *size)
    if kind == "input_values":
        inputs["input_values"] = torch.rand(2, getattr(config, "max_length", 100), config.num_mel_bins) if hasattr(config, "num_mel_bins") else torch.rand(2, 4000)
    if kind == "input_features":
        whisper = name == "whisper"
        bins = getattr(config, "num_mel_bins", getattr(config, "input_feat_per_channel", getattr(config, "feature_projection_input_dim", 80)))
        length = 2 * getattr(config, "max_source_positions", 50) if whisper else 48
        inputs["input_features"] = torch.rand(2, bins, length) if whisper else torch.rand(2, length, bins)
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in wanted:
        inputs["decoder_input_ids"] = torch.randint(3, 90, (2, 4 if whisper_like(kind) else 8))
    return module, inputs


def whisper_like(kind):
    return kind == "input_features"


def build_layer(name, _):
    import torch

    module, shape = layers()[name]
    return module, {"x": torch.rand(2, *shape)}


LIBRARIES = {
    "torch.nn": (lambda: {k: 0 for k in layers()}, build_layer),
    "torchvision": (lambda: TORCHVISION, build_torchvision),
    "timm": (lambda: TIMM, build_timm),
    "transformers": (lambda: {k: 0 for k in TRANSFORMERS}, build_transformers),
}


def version(full_name):
    """Of PyTorch and of the network's library: what else its export depends on."""
    import importlib.metadata

    library = full_name.split("/")[0]
    return ", ".join(f"{m} {importlib.metadata.version(m)}" for m in dict.fromkeys(("torch", "torch" if library == "torch.nn" else library)))


def installed(full_name):
    import importlib.util

    return importlib.util.find_spec(full_name.split("/")[0].removesuffix(".nn")) is not None


def names():
    return [f"{library}/{name}" for library, (listed, _) in LIBRARIES.items() for name in listed()]


def build(full_name):
    """The module in evaluation mode, whose parameters are all different numbers, and its inputs (a batch of two) by name."""
    import torch

    library, name = full_name.split("/", 1)
    listed, builder = LIBRARIES[library]
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, inputs = builder(name, listed()[name])
    module.eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.is_floating_point():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
        for key, buffer in module.named_buffers():
            if buffer.is_floating_point() and key.endswith("running_mean"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
            if buffer.is_floating_point() and key.endswith("running_var"):
                buffer.copy_(0.8 + 0.4 * torch.rand(buffer.shape, generator=generator))
    return module, inputs
