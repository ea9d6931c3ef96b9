/*
 * ivf_train_private.h - from a sample of the rows to a model (ivf_train.c).
 */
#ifndef IQDB_IVF_IVF_TRAIN_PRIVATE_H
#define IQDB_IVF_IVF_TRAIN_PRIVATE_H

#include "core/ivf/ivf_model_private.h"

/* A model in private memory. */
typedef struct IqdbiTrained
{
	IqdbiModel model;
	IqdbCarve  memory;
} IqdbiTrained;

/* Learns a model from a sample of the LIVE rows; no rows, no model (lists 0). Takes STRUCTURE shared in stretches. */
IqdbStatus iqdbi_ivf_train(const IqdbiIvf *ivf, uint32_t lists, IqdbiTrained *trained_out,
						   IqdbError *err) IQDB_MUST_CHECK;
void iqdbi_trained_free(const IqdbiIvf *ivf, IqdbiTrained *trained);

#endif
