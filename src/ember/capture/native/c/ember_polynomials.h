/* Polynomials that stand for functions: written by tools/polynomials, which says how. Do not edit.
 *
 * After each colon stands the largest error, relative where nothing else is said in the table there.
 */
#ifndef EMBER_POLYNOMIALS_H
#define EMBER_POLYNOMIALS_H

#include "ember_base.h"

/* (exp(x) - 1 - x) / x^2 for |x| <= log(2) / 2: 2^-60.6 */
EMBER_INLINE double ember_exp_rest_f64(double x) {
    const double z = x * x;
    double s0 = 2.092446242019421e-09, s1 = 2.510904581874171e-08;
    s0 = ember_muladd_f64(s0, z, 2.7557242715486445e-07);
    s1 = ember_muladd_f64(s1, z, 2.755724417960911e-06);
    s0 = ember_muladd_f64(s0, z, 2.4801587360573873e-05);
    s1 = ember_muladd_f64(s1, z, 0.0001984126988616046);
    s0 = ember_muladd_f64(s0, z, 0.0013888888888866858);
    s1 = ember_muladd_f64(s1, z, 0.008333333333321615);
    s0 = ember_muladd_f64(s0, z, 0.0416666666666667);
    s1 = ember_muladd_f64(s1, z, 0.16666666666666677);
    s0 = ember_muladd_f64(s0, z, 0.5);
    return ember_muladd_f64(s1, x, s0);
}

/* (exp(x) - 1 - x) / x^2 for |x| <= log(2) / 2: 2^-26.0 */
EMBER_INLINE float ember_exp_rest_f32(float x) {
    const float z = x * x;
    float s0 = 0.0013946844264864922f, s1 = 0.00836657639592886f;
    s0 = ember_muladd_f32(s0, z, 0.04166627675294876f);
    s1 = ember_muladd_f32(s1, z, 0.1666654348373413f);
    s0 = ember_muladd_f32(s0, z, 0.5f);
    return ember_muladd_f32(s1, x, s0);
}

/* (2 artanh(s) - 2 s) / s^3 at x = s^2, for s = (m - 1) / (m + 1) and m from sqrt(1/2) to sqrt(2): 2^-57.9 */
EMBER_INLINE double ember_log_rest_f64(double x) {
    const double z = x * x;
    double s0 = 0.14796131105086127, s1 = 0.1531403307147914;
    s0 = ember_muladd_f64(s0, z, 0.18183564982642117);
    s1 = ember_muladd_f64(s1, z, 0.22222198561113646);
    s0 = ember_muladd_f64(s0, z, 0.28571428742498794);
    s1 = ember_muladd_f64(s1, z, 0.3999999999941422);
    s0 = ember_muladd_f64(s0, z, 0.6666666666666734);
    return ember_muladd_f64(s1, x, s0);
}

/* (x - log(1 + x)) / x^2 for 1 + x from sqrt(1/2) to sqrt(2): 2^-26.9 */
EMBER_INLINE float ember_log_bend_f32(float x) {
    const float z = x * x;
    float s0 = 0.07825513184070587f, s1 = -0.13006587326526642f;
    s0 = ember_muladd_f32(s0, z, 0.13208810985088348f);
    s1 = ember_muladd_f32(s1, z, -0.14163212478160858f);
    s0 = ember_muladd_f32(s0, z, 0.16611121594905853f);
    s1 = ember_muladd_f32(s1, z, -0.20003026723861694f);
    s0 = ember_muladd_f32(s0, z, 0.2500152289867401f);
    s1 = ember_muladd_f32(s1, z, -0.3333330750465393f);
    s0 = ember_muladd_f32(s0, z, 0.49999988079071045f);
    return ember_muladd_f32(s1, x, s0);
}

/* (log gamma(2 + x) - (1 - C) x) / x^2 for |x| <= 1/2, C being Euler's constant: 2^-56.1 */
EMBER_INLINE double ember_lgamma_rest_f64(double x) {
    const double z = x * x, w = z * z;
    double s0 = 2.78660459522719e-07, s1 = -1.3603264876094852e-07, s2 = 9.201462419194349e-07, s3 = -4.282296201766493e-07;
    s0 = ember_muladd_f64(s0, w, 4.384659026391364e-06);
    s1 = ember_muladd_f64(s1, w, -2.045906925762259e-06);
    s2 = ember_muladd_f64(s2, w, 2.050560265870581e-05);
    s3 = ember_muladd_f64(s3, w, -9.438212658473987e-06);
    s0 = ember_muladd_f64(s0, w, 9.945767173664921e-05);
    s1 = ember_muladd_f64(s1, w, -4.492638664780643e-05);
    s2 = ember_muladd_f64(s2, w, 0.0005096695155751665);
    s3 = ember_muladd_f64(s3, w, -0.00022315474776198957);
    s0 = ember_muladd_f64(s0, w, 0.0028905103310260583);
    s1 = ember_muladd_f64(s1, w, -0.0011927539121384778);
    s2 = ember_muladd_f64(s2, w, 0.02058080842778058);
    s3 = ember_muladd_f64(s3, w, -0.007385551028665169);
    s0 = ember_muladd_f64(s0, w, 0.32246703342411326);
    s1 = ember_muladd_f64(s1, w, -0.06735230105319816);
    return ember_muladd_f64(ember_muladd_f64(s3, x, s2), z, ember_muladd_f64(s1, x, s0));
}

/* (log gamma(2 + x) - (1 - C) x) / x^2 for |x| <= 1/2, C being Euler's constant: 2^-27.3 */
EMBER_INLINE float ember_lgamma_rest_f32(float x) {
    const float z = x * x;
    float s0 = 0.0005698828026652336f, s1 = -0.000256692263064906f;
    s0 = ember_muladd_f32(s0, z, 0.002879053121432662f);
    s1 = ember_muladd_f32(s1, z, -0.0011845034314319491f);
    s0 = ember_muladd_f32(s0, z, 0.020581597462296486f);
    s1 = ember_muladd_f32(s1, z, -0.007386361714452505f);
    s0 = ember_muladd_f32(s0, z, 0.32246702909469604f);
    s1 = ember_muladd_f32(s1, z, -0.06735227257013321f);
    return ember_muladd_f32(s1, x, s0);
}

/* z (log gamma(z) - (z - 1/2) log(z) + z - log(2 pi) / 2) at x = 1 / z^2, for z >= 3.5: 2^-52.0 */
EMBER_INLINE double ember_stirling_rest_f64(double x) {
    const double z = x * x;
    double s0 = 0.06782794325163485, s1 = -0.11361263817663173;
    s0 = ember_muladd_f64(s0, z, 0.006055629525572723);
    s1 = ember_muladd_f64(s1, z, -0.022031929894059003);
    s0 = ember_muladd_f64(s0, z, 0.0008415293847781758);
    s1 = ember_muladd_f64(s1, z, -0.0019063882849633751);
    s0 = ember_muladd_f64(s0, z, 0.0007936507781333678);
    s1 = ember_muladd_f64(s1, z, -0.0005952355101151196);
    s0 = ember_muladd_f64(s0, z, 0.08333333333333331);
    s1 = ember_muladd_f64(s1, z, -0.002777777777741413);
    return ember_muladd_f64(s1, x, s0);
}

/* z (log gamma(z) - (z - 1/2) log(z) + z - log(2 pi) / 2) at x = 1 / z^2, for z >= 3.5: 2^-22.8 */
EMBER_INLINE float ember_stirling_rest_f32(float x) {
    float s0 = 0.0007292467635124922f;
    s0 = ember_muladd_f32(s0, x, -0.002775894943624735f);
    s0 = ember_muladd_f32(s0, x, 0.0833333283662796f);
    return s0;
}

/* (digamma(1 + a + x) - digamma(1 + a)) / x for 0 <= a + x <= 2.3, a being the root of digamma: 2^-54.4 */
EMBER_INLINE double ember_digamma_slope_f64(double x) {
    const double z = x * x, w = z * z;
    double s0 = -2.1312791010966275e-09, s1 = -3.369999844585247e-10, s2 = 2.3220394184594012e-09, s3 = -4.07240053670205e-09;
    s0 = ember_muladd_f64(s0, w, 1.3043958746118301e-08);
    s1 = ember_muladd_f64(s1, w, 1.754869517900452e-08);
    s2 = ember_muladd_f64(s2, w, -3.938531095332401e-08);
    s3 = ember_muladd_f64(s3, w, -2.596820333002791e-08);
    s0 = ember_muladd_f64(s0, w, 5.477427125756543e-08);
    s1 = ember_muladd_f64(s1, w, 1.250074065580728e-08);
    s2 = ember_muladd_f64(s2, w, -2.5299744561800428e-08);
    s3 = ember_muladd_f64(s3, w, 1.076412901654617e-09);
    s0 = ember_muladd_f64(s0, w, 1.1083256597046482e-07);
    s1 = ember_muladd_f64(s1, w, -5.2758282354639955e-08);
    s2 = ember_muladd_f64(s2, w, 5.460573446907209e-07);
    s3 = ember_muladd_f64(s3, w, -2.1263088180779982e-07);
    s0 = ember_muladd_f64(s0, w, 3.3637150338420125e-06);
    s1 = ember_muladd_f64(s1, w, -1.3672836291476442e-06);
    s2 = ember_muladd_f64(s2, w, 2.0553960266969512e-05);
    s3 = ember_muladd_f64(s3, w, -8.305572911922907e-06);
    s0 = ember_muladd_f64(s0, w, 0.00012681674262539298);
    s1 = ember_muladd_f64(s1, w, -5.097211998552665e-05);
    s2 = ember_muladd_f64(s2, w, 0.0007983109581945273);
    s3 = ember_muladd_f64(s3, w, -0.0003170368019335431);
    s0 = ember_muladd_f64(s0, w, 0.005265591872132228);
    s1 = ember_muladd_f64(s1, w, -0.002032481823845558);
    s2 = ember_muladd_f64(s2, w, 0.03939709733579866);
    s3 = ember_muladd_f64(s3, w, -0.01403996529389574);
    s0 = ember_muladd_f64(s0, w, 0.49958821066342546);
    s1 = ember_muladd_f64(s1, w, -0.1225156727886263);
    return ember_muladd_f64(ember_muladd_f64(s3, x, s2), z, ember_muladd_f64(s1, x, s0));
}

/* (digamma(1 + a + x) - digamma(1 + a)) / x for 0 <= a + x <= 2.3, a being the root of digamma: 2^-25.2 */
EMBER_INLINE float ember_digamma_slope_f32(float x) {
    const float z = x * x;
    float s0 = 3.908180951839313e-05f, s1 = 4.0916409489000216e-05f;
    s0 = ember_muladd_f32(s0, z, -3.6333975003799424e-05f);
    s1 = ember_muladd_f32(s1, z, -0.00015799129323568195f);
    s0 = ember_muladd_f32(s0, z, 0.0001555899070808664f);
    s1 = ember_muladd_f32(s1, z, -0.0002328888513147831f);
    s0 = ember_muladd_f32(s0, z, 0.0007942988886497915f);
    s1 = ember_muladd_f32(s1, z, -0.0020619214046746492f);
    s0 = ember_muladd_f32(s0, z, 0.005265263840556145f);
    s1 = ember_muladd_f32(s1, z, -0.014035685919225216f);
    s0 = ember_muladd_f32(s0, z, 0.039397142827510834f);
    s1 = ember_muladd_f32(s1, z, -0.12251584976911545f);
    s0 = ember_muladd_f32(s0, z, 0.4995882213115692f);
    return ember_muladd_f32(s1, x, s0);
}

/* z^2 (log(z) - 1 / (2 z) - digamma(z)) at x = 1 / z^2, for z >= 2.3: 2^-55.5 */
EMBER_INLINE double ember_digamma_rest_f64(double x) {
    const double z = x * x;
    double s0 = 8.047280656906807, s1 = -12.03125894703875;
    s0 = ember_muladd_f64(s0, z, 8.374756780000057);
    s1 = ember_muladd_f64(s1, z, -3.6642146780926748);
    s0 = ember_muladd_f64(s0, z, 1.1657168971036975);
    s1 = ember_muladd_f64(s1, z, -0.3042706475635172);
    s0 = ember_muladd_f64(s0, z, 0.07501353213966447);
    s1 = ember_muladd_f64(s1, z, -0.020713902456704923);
    s0 = ember_muladd_f64(s0, z, 0.007563377375084155);
    s1 = ember_muladd_f64(s1, z, -0.004166395007002329);
    s0 = ember_muladd_f64(s0, z, 0.00396825031985949);
    s1 = ember_muladd_f64(s1, z, -0.008333333307720554);
    s0 = ember_muladd_f64(s0, z, 0.08333333333326741);
    return ember_muladd_f64(s1, x, s0);
}

/* z^2 (log(z) - 1 / (2 z) - digamma(z)) at x = 1 / z^2, for z >= 2.3: 2^-29.3 */
EMBER_INLINE float ember_digamma_rest_f32(float x) {
    float s0 = -0.0021586522925645113f;
    s0 = ember_muladd_f32(s0, x, 0.0036928507033735514f);
    s0 = ember_muladd_f32(s0, x, -0.008316202089190483f);
    s0 = ember_muladd_f32(s0, x, 0.08333297073841095f);
    return s0;
}

/* z^3 (trigamma(z) - 1 / z - 1 / (2 z^2)) at x = 1 / z^2, for z >= 3: 2^-49.7 */
EMBER_INLINE double ember_trigamma_rest_f64(double x) {
    const double z = x * x;
    double s0 = 2368.193454887911, s1 = -1965.0305914770368;
    s0 = ember_muladd_f64(s0, z, 767.1118036339815);
    s1 = ember_muladd_f64(s1, z, -192.82851389469886);
    s0 = ember_muladd_f64(s0, z, 36.99771645608065);
    s1 = ember_muladd_f64(s1, z, -6.332643495745237);
    s0 = ember_muladd_f64(s0, z, 1.1428222687881497);
    s1 = ember_muladd_f64(s1, z, -0.25258674026774247);
    s0 = ember_muladd_f64(s0, z, 0.07574987540520109);
    s1 = ember_muladd_f64(s1, z, -0.033333265068587276);
    s0 = ember_muladd_f64(s0, z, 0.02380952349141812);
    s1 = ember_muladd_f64(s1, z, -0.03333333333274717);
    s0 = ember_muladd_f64(s0, z, 0.1666666666666665);
    return ember_muladd_f64(s1, x, s0);
}

/* z^3 (trigamma(z) - 1 / z - 1 / (2 z^2)) at x = 1 / z^2, for z >= 3: 2^-24.0 */
EMBER_INLINE float ember_trigamma_rest_f32(float x) {
    const float z = x * x;
    float s0 = 0.037307146936655045f, s1 = -0.030351392924785614f;
    s0 = ember_muladd_f32(s0, z, 0.023704269900918007f);
    s1 = ember_muladd_f32(s1, z, -0.0333319790661335f);
    s0 = ember_muladd_f32(s0, z, 0.1666666567325592f);
    return ember_muladd_f32(s1, x, s0);
}

/* (sin(pi r) / (pi r) - 1) / r^2 at x = r^2, for |r| <= 1/2: 2^-55.8 */
EMBER_INLINE double ember_sinpi_rest_f64(double x) {
    const double z = x * x;
    double s0 = -6.9721667735293215e-06, s1 = 2.4509286239705716e-07;
    s0 = ember_muladd_f64(s0, z, -0.002346080902191345);
    s1 = ember_muladd_f64(s1, z, 0.00014842787061827592);
    s0 = ember_muladd_f64(s0, z, -0.1907518241215612);
    s1 = ember_muladd_f64(s1, z, 0.026147847806431083);
    s0 = ember_muladd_f64(s0, z, -1.6449340668482264);
    s1 = ember_muladd_f64(s1, z, 0.8117424252833418);
    return ember_muladd_f64(s1, x, s0);
}

/* (sin(pi r) / (pi r) - 1) / r^2 at x = r^2, for |r| <= 1/2: 2^-27.1 */
EMBER_INLINE float ember_sinpi_rest_f32(float x) {
    float s0 = 0.024754799902439117f;
    s0 = ember_muladd_f32(s0, x, -0.19046182930469513f);
    s0 = ember_muladd_f32(s0, x, 0.8117185235023499f);
    s0 = ember_muladd_f32(s0, x, -1.6449334621429443f);
    return s0;
}

/* cos(pi r) / (1 - 4 r^2) at x = r^2, for |r| <= 1/2: 2^-56.5 */
EMBER_INLINE double ember_cospi_f64(double x) {
    const double z = x * x;
    double s0 = 3.347242977406162e-08, s1 = -1.0666786399444633e-06;
    s0 = ember_muladd_f64(s0, z, 2.5892619311317855e-05);
    s1 = ember_muladd_f64(s1, z, -0.000475920374834418);
    s0 = ember_muladd_f64(s0, z, 0.006332742747796363);
    s1 = ember_muladd_f64(s1, z, -0.05724947190230903);
    s0 = ember_muladd_f64(s0, z, 0.3195033242380491);
    s1 = ember_muladd_f64(s1, z, -0.9348022005446793);
    s0 = ember_muladd_f64(s0, z, 1.0);
    return ember_muladd_f64(s1, x, s0);
}

/* cos(pi r) / (1 - 4 r^2) at x = r^2, for |r| <= 1/2: 2^-27.2 */
EMBER_INLINE float ember_cospi_f32(float x) {
    const float z = x * x;
    float s0 = 0.006038568448275328f, s1 = -0.05718466266989708f;
    s0 = ember_muladd_f32(s0, z, 0.3194974362850189f);
    s1 = ember_muladd_f32(s1, z, -0.9348019957542419f);
    s0 = ember_muladd_f32(s0, z, 1.0f);
    return ember_muladd_f32(s1, x, s0);
}

#endif
